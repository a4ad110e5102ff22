//! What all VSs of a VM share: the MSR and I/O permission maps, the nested table's root and the TLB tag.

use plinth_arch_x86::msr_maps::{ExitMap, MsrMaps};
use plinth_arch_x86::{IdentityMemory, MSR_REQUEST_PAGES, MsrRequests, acpi_sleep, port_table};
use plinth_hal::{
    Authority, FrameSource, InterceptError, Intercepts, OutOfFrames, PAGE_SIZE, PhysicalMemory, Spa, VmHw,
};

use crate::Svm;
use crate::msr_table::TABLE;

/// Pages of the MSR permission map (AMD APM vol. 2, 15.11).
const MSRPM_PAGES: usize = 2;
/// Pages of the I/O permission map (AMD APM vol. 2, 15.10.1).
const IOPM_PAGES: usize = 3;

/// The root VM's tag.
pub(crate) const ROOT_TAG: u16 = 1;

/// VM_CR: with it a guest could see that SVM is on, or switch it off.
pub(crate) const VM_CR: u32 = 0xC001_0114;
/// VM_CR.R_INIT: an INIT that no guest takes is the exception #SX (AMD APM vol. 2, 15.30.1).
pub(crate) const VM_CR_R_INIT: u64 = 1 << 1;
/// VM_HSAVE_PA: the processor keeps the host's state there.
pub(crate) const VM_HSAVE_PA: u32 = 0xC001_0117;

/// The MSR permission map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Msrpm {
    memory: IdentityMemory,
    map: Spa,
}

impl ExitMap for Msrpm {
    fn set_exits(&self, register: u32, exits: Intercepts) {
        if let Some((offset, shift)) = msr_position(register) {
            let bits = u64::from(exits.reads) | u64::from(exits.writes) << 1;
            set_bits(&self.memory, self.map.wrapping_add(offset), 3 << shift, bits << shift);
        }
    }
}

fn fill(memory: &IdentityMemory, map: Spa, pages: usize, value: u64) {
    for word in 0..pages as u64 * PAGE_SIZE / 8 {
        memory.write_u64(map.word(word), value);
    }
}

/// Has accesses to a port exit from a VM, or not.
pub(crate) fn set_port(memory: &IdentityMemory, iopm: Spa, port: u16, exits: bool) {
    let at = iopm.word(u64::from(port) / 64);
    set_bits(memory, at, 1 << (port % 64), u64::from(exits) << (port % 64));
}

fn set_bits(memory: &IdentityMemory, at: Spa, mask: u64, bits: u64) {
    memory.write_u64(at, memory.read_u64(at) & !mask | bits);
}

/// A VM on SVM.
#[derive(Debug)]
pub struct SvmVm {
    maps: MsrMaps<Msrpm>,
    memory: IdentityMemory,
    iopm: Spa,
    nested_root: Spa,
    tag: u16,
}

impl SvmVm {
    pub(crate) fn maps(&self) -> MsrMaps<Msrpm> {
        self.maps
    }

    pub(crate) fn msrpm(&self) -> Spa {
        self.maps.exits().map
    }

    pub(crate) fn iopm(&self) -> Spa {
        self.iopm
    }

    pub(crate) fn nested_root(&self) -> Spa {
        self.nested_root
    }

    pub(crate) fn tag(&self) -> u16 {
        self.tag
    }

    fn is_root(&self) -> bool {
        self.tag == ROOT_TAG
    }
}

/// Byte offset of the 64-bit word, and the bit in it, that stand for an MSR.
fn msr_position(register: u32) -> Option<(u64, u32)> {
    let base = match register {
        0..=0x1FFF => 0,
        0xC000_0000..=0xC000_1FFF => 0x800,
        0xC001_0000..=0xC001_1FFF => 0x1000,
        _ => return None,
    };
    let bit = u64::from(register & 0x1FFF) * 2;
    Some((base + bit / 64 * 8, (bit % 64) as u32))
}

impl VmHw for SvmVm {
    type Arch = Svm;

    fn create(
        memory: IdentityMemory,
        frames: &mut impl FrameSource,
        nested_root: Spa,
        tag: u16,
    ) -> Result<Self, OutOfFrames> {
        let msrpm = frames.allocate(MSRPM_PAGES + MSR_REQUEST_PAGES)?;
        let iopm = frames
            .allocate(IOPM_PAGES)
            .inspect_err(|_| frames.free(msrpm, MSRPM_PAGES + MSR_REQUEST_PAGES))?;
        let request_map = msrpm.nth_page(MSRPM_PAGES as u64);
        let exits = Msrpm { memory, map: msrpm };
        let requests = MsrRequests::new(memory, request_map);
        let maps = if tag == ROOT_TAG {
            // Reads pass, writes exit.
            fill(&memory, msrpm, MSRPM_PAGES, 0xAAAA_AAAA_AAAA_AAAA);
            acpi_sleep::ports().for_each(|port| set_port(&memory, iopm, port, true));
            MsrMaps::of_root(exits, requests, &TABLE)
        } else {
            fill(&memory, msrpm, MSRPM_PAGES + MSR_REQUEST_PAGES, u64::MAX);
            fill(&memory, iopm, IOPM_PAGES, u64::MAX);
            MsrMaps::of_guest(exits, requests, &TABLE)
        };
        Ok(Self { maps, memory, iopm, nested_root, tag })
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(self.msrpm(), MSRPM_PAGES + MSR_REQUEST_PAGES);
        frames.free(self.iopm, IOPM_PAGES);
    }

    fn intercept_register(
        &mut self,
        register: u64,
        intercepts: Intercepts,
        authority: Authority,
    ) -> Result<(), InterceptError> {
        self.maps.ask(register, intercepts, authority)
    }

    fn intercept_port(
        &mut self,
        port: u16,
        intercept: bool,
        authority: Authority,
    ) -> Result<(), InterceptError> {
        let exits = port_table::exits(port, self.is_root(), intercept, authority)?;
        set_port(&self.memory, self.iopm, port, exits);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use plinth_arch_x86::msr;

    use super::*;

    #[test]
    fn msrs_lie_where_the_manual_says() {
        assert_eq!(msr_position(0), Some((0, 0)));
        assert_eq!(msr_position(0x1B), Some((0, 54)));
        assert_eq!(msr_position(msr::index::EFER), Some((0x820, 0)));
        assert_eq!(msr_position(VM_CR), Some((0x1040, 40)));
        assert_eq!(msr_position(0xC001_1FFF), Some((0x17F8, 62)));
        assert_eq!(msr_position(0x2000), None);
        assert_eq!(msr_position(0x4000_0000), None);
    }
}
