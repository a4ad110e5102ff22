//! What all VSs of a VM share: the MSR and I/O permission maps, the nested table's root and the TLB tag.

use plinth_arch_x86::{IdentityMemory, msr};
use plinth_hal::{
    Authority, FrameSource, InterceptError, Intercepts, OutOfFrames, PAGE_SIZE, PhysicalMemory, Spa, VmHw,
};

use crate::Svm;

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

/// MSRs that the kernel itself must see, whatever the extension wants: number, reads, writes.
const OWNED: [(u32, Intercepts); 6] = [
    (msr::index::EFER, BOTH),
    (VM_CR, BOTH),
    (VM_HSAVE_PA, BOTH),
    (msr::index::APIC_BASE, Intercepts { reads: false, writes: true }),
    (msr::index::X2APIC_ICR, Intercepts { reads: false, writes: true }),
    (msr::index::X2APIC_LINT0, Intercepts { reads: false, writes: true }),
];

const BOTH: Intercepts = Intercepts { reads: true, writes: true };

/// A VM on SVM.
#[derive(Debug)]
pub struct SvmVm {
    memory: IdentityMemory,
    msrpm: Spa,
    iopm: Spa,
    nested_root: Spa,
    tag: u16,
}

impl SvmVm {
    pub(crate) fn msrpm(&self) -> Spa {
        self.msrpm
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

    /// Sets two bits for an MSR, or says that no map covers it: those always exit.
    fn set_register(&mut self, register: u32, intercepts: Intercepts) -> Result<(), InterceptError> {
        let (offset, shift) = msr_position(register).ok_or(InterceptError::Unknown)?;
        let bits = u64::from(intercepts.reads) | u64::from(intercepts.writes) << 1;
        self.set_bits(self.msrpm, offset, 3 << shift, bits << shift);
        Ok(())
    }

    fn set_bits(&self, map: Spa, word_offset: u64, mask: u64, bits: u64) {
        let at = Spa::new(map.raw() + word_offset);
        self.memory.write_u64(at, self.memory.read_u64(at) & !mask | bits);
    }

    fn fill(&self, map: Spa, pages: usize, value: u64) {
        for word in 0..pages as u64 * PAGE_SIZE / 8 {
            self.memory.write_u64(Spa::new(map.raw() + word * 8), value);
        }
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
        let msrpm = frames.allocate(MSRPM_PAGES)?;
        let iopm = frames.allocate(IOPM_PAGES).inspect_err(|_| frames.free(msrpm, MSRPM_PAGES))?;
        let mut vm = Self { memory, msrpm, iopm, nested_root, tag };
        if tag != ROOT_TAG {
            vm.fill(msrpm, MSRPM_PAGES, u64::MAX);
            vm.fill(iopm, IOPM_PAGES, u64::MAX);
        }
        for (register, intercepts) in OWNED {
            // All of them lie in the map's ranges.
            let _ = vm.set_register(register, intercepts);
        }
        Ok(vm)
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(self.msrpm, MSRPM_PAGES);
        frames.free(self.iopm, IOPM_PAGES);
    }

    fn intercept_register(
        &mut self,
        register: u64,
        intercepts: Intercepts,
        authority: Authority,
    ) -> Result<(), InterceptError> {
        let opens = !intercepts.reads || !intercepts.writes;
        if opens && self.tag != ROOT_TAG && authority != Authority::Machine {
            return Err(InterceptError::Denied);
        }
        let register = u32::try_from(register).map_err(|_| InterceptError::Unknown)?;
        let owned = OWNED.iter().find(|(owned, _)| *owned == register);
        let floor = owned.map_or(Intercepts { reads: false, writes: false }, |(_, floor)| *floor);
        let joint =
            Intercepts { reads: intercepts.reads || floor.reads, writes: intercepts.writes || floor.writes };
        self.set_register(register, joint)
    }

    fn intercept_port(
        &mut self,
        port: u16,
        intercept: bool,
        authority: Authority,
    ) -> Result<(), InterceptError> {
        if !intercept && self.tag != ROOT_TAG && authority != Authority::Machine {
            return Err(InterceptError::Denied);
        }
        let (offset, bit) = (u64::from(port) / 64 * 8, port % 64);
        self.set_bits(self.iopm, offset, 1 << bit, u64::from(intercept) << bit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
