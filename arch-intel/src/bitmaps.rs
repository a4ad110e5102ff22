//! What all VSs of a VM share: the MSR and I/O bitmaps, the nested table's root and the TLB tag.

use plinth_arch_x86::{IdentityMemory, MSR_REQUEST_PAGES, MsrRequests, port_table};
use plinth_hal::{
    Authority, FrameSource, InterceptError, Intercepts, OutOfFrames, PAGE_SIZE, PhysicalMemory, Spa, VmHw,
};

use crate::Vmx;
use crate::msr_table::TABLE;

/// The MSR bitmap, then I/O bitmaps A and B (Intel SDM vol. 3C, "I/O-Bitmap Addresses", "MSR-Bitmap Address"), then what the
/// extension has asked to see.
const PAGES: usize = 3 + MSR_REQUEST_PAGES;
const REQUESTS: u64 = 3 * PAGE_SIZE;
/// From the bitmap of reads to the one of writes.
const WRITES: u64 = 0x800;

/// The root VM's tag.
pub(crate) const ROOT_TAG: u16 = 1;

/// The EPT pointer to tables at `root`: write-back, of four levels, no accessed and dirty flags (Intel SDM vol. 3C,
/// 24.6.11).
pub(crate) fn ept_pointer(root: Spa) -> u64 {
    const WRITE_BACK: u64 = 6;
    const FOUR_LEVELS: u64 = 3 << 3;
    root.raw() | FOUR_LEVELS | WRITE_BACK
}

/// The bitmap of MSRs that exit, and what of it the extension has asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MsrMaps {
    memory: IdentityMemory,
    bitmap: Spa,
    pub(crate) requests: MsrRequests,
}

impl MsrMaps {
    /// The maps of the root VM: what the table says, and nothing that the extension has asked for.
    fn of_root(self) {
        // Reads pass, writes exit: the rule for an MSR that is not in the table.
        for offset in (WRITES..PAGE_SIZE).step_by(8) {
            self.memory.write_u64(Spa::new(self.bitmap.raw() + offset), u64::MAX);
        }
        for register in TABLE.ranges().flat_map(|range| range.first..=range.last) {
            self.set_exits(register, TABLE.root_exits(register));
        }
    }

    /// Sets which accesses exit, where the processor's bitmap covers the MSR: the others always do.
    fn set_exits(&self, register: u32, exits: Intercepts) {
        if let Some((offset, bit)) = msr_position(register) {
            set_bit(&self.memory, self.bitmap.raw() + offset, bit, exits.reads);
            set_bit(&self.memory, self.bitmap.raw() + offset + WRITES, bit, exits.writes);
        }
    }

    /// Has the root VM get what the table says for an MSR that an extension has asked for which is gone. Returns false where
    /// it has not asked.
    pub(crate) fn forget_request(&self, register: u32) -> bool {
        const NONE: Intercepts = Intercepts { reads: false, writes: false };
        let asked = self.requests.has(register, false) || self.requests.has(register, true);
        if asked && self.requests.set(register, NONE) {
            self.set_exits(register, TABLE.root_exits(register));
        }
        asked
    }
}

fn set_bit(memory: &IdentityMemory, map: u64, bit: u64, on: bool) {
    let at = Spa::new(map + bit / 64 * 8);
    let mask = 1 << (bit % 64);
    let word = memory.read_u64(at) & !mask;
    memory.write_u64(at, word | if on { mask } else { 0 });
}

/// A VM on VMX.
#[derive(Debug)]
pub struct VmxVm {
    maps: MsrMaps,
    nested_root: Spa,
    tag: u16,
}

impl VmxVm {
    pub(crate) fn msr_bitmap(&self) -> u64 {
        self.maps.bitmap.raw()
    }

    pub(crate) fn io_bitmaps(&self) -> [u64; 2] {
        [self.msr_bitmap() + PAGE_SIZE, self.msr_bitmap() + 2 * PAGE_SIZE]
    }

    /// The EPT pointer to its own tables.
    pub(crate) fn ept_pointer(&self) -> u64 {
        ept_pointer(self.nested_root)
    }

    pub(crate) fn tag(&self) -> u16 {
        self.tag
    }

    pub(crate) fn maps(&self) -> MsrMaps {
        self.maps
    }

    fn is_root(&self) -> bool {
        self.tag == ROOT_TAG
    }
}

/// Offset of the part of the read bitmap that an MSR is in, and its bit there.
fn msr_position(register: u32) -> Option<(u64, u64)> {
    match register {
        0..=0x1FFF => Some((0, u64::from(register))),
        0xC000_0000..=0xC000_1FFF => Some((0x400, u64::from(register & 0x1FFF))),
        _ => None,
    }
}

impl VmHw for VmxVm {
    type Arch = Vmx;

    fn create(
        memory: IdentityMemory,
        frames: &mut impl FrameSource,
        nested_root: Spa,
        tag: u16,
    ) -> Result<Self, OutOfFrames> {
        let bitmap = frames.allocate(PAGES)?;
        let requests = MsrRequests::new(memory, Spa::new(bitmap.raw() + REQUESTS));
        let maps = MsrMaps { memory, bitmap, requests };
        if tag == ROOT_TAG {
            maps.of_root();
        } else {
            for word in 0..PAGES as u64 * PAGE_SIZE / 8 {
                memory.write_u64(Spa::new(bitmap.raw() + word * 8), u64::MAX);
            }
        }
        Ok(Self { maps, nested_root, tag })
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(self.maps.bitmap, PAGES);
    }

    fn intercept_register(
        &mut self,
        register: u64,
        intercepts: Intercepts,
        authority: Authority,
    ) -> Result<(), InterceptError> {
        let register = MsrRequests::covered(register).ok_or(InterceptError::Unknown)?;
        TABLE.check(register, self.is_root(), intercepts, authority)?;
        let _ = self.maps.requests.set(register, intercepts);
        let floor = if self.is_root() { TABLE.root_exits(register) } else { TABLE.guest_exits(register) };
        self.maps.set_exits(register, intercepts.or(floor));
        Ok(())
    }

    fn intercept_port(
        &mut self,
        port: u16,
        intercept: bool,
        authority: Authority,
    ) -> Result<(), InterceptError> {
        port_table::check(port, self.is_root(), intercept, authority)?;
        set_bit(&self.maps.memory, self.msr_bitmap() + PAGE_SIZE, u64::from(port), intercept);
        Ok(())
    }
}

#[cfg(test)]
impl VmxVm {
    /// One whose maps are never touched.
    pub(crate) fn without_memory(tag: u16) -> Self {
        let nothing = plinth_hal::SpaRange::new(Spa::new(0), 0);
        // SAFETY: nothing may be read or written.
        let memory = unsafe { IdentityMemory::new(nothing, nothing, 0) };
        let bitmap = Spa::new(0x1_0000);
        let maps = MsrMaps { memory, bitmap, requests: MsrRequests::new(memory, bitmap) };
        Self { maps, nested_root: Spa::new(0x2_0000), tag }
    }
}

#[cfg(test)]
mod tests {
    use plinth_arch_x86::msr;

    use super::*;

    #[test]
    fn msrs_lie_where_the_manual_says() {
        assert_eq!(msr_position(0x1B), Some((0, 0x1B)));
        assert_eq!(msr_position(msr::index::EFER), Some((0x400, 0x80)));
        assert_eq!(msr_position(0xC001_0000), None);
    }
}
