//! What all VSs of a VM share: the MSR and I/O vm, the nested table's root and the TLB tag.

use core::ops::Range;

use plinth_arch_x86::msr_maps::{ExitMap, MsrMaps};
use plinth_arch_x86::{IdentityMemory, MSR_REQUEST_PAGES, MsrRequests, acpi_sleep, port_table};
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

/// The MSR bitmap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MsrBitmap {
    memory: IdentityMemory,
    map: Spa,
}

impl ExitMap for MsrBitmap {
    fn set_exits(&self, register: u32, exits: Intercepts) {
        if let Some((offset, bit)) = msr_position(register) {
            set_bit(&self.memory, self.map.wrapping_add(offset), bit, exits.reads);
            set_bit(&self.memory, self.map.wrapping_add(offset).wrapping_add(WRITES), bit, exits.writes);
        }
    }
}

fn fill(memory: &IdentityMemory, pages: Spa, offsets: Range<u64>) {
    for offset in offsets.step_by(8) {
        memory.write_u64(pages.wrapping_add(offset), u64::MAX);
    }
}

/// Has accesses to a port exit from a VM whose bitmaps of ports are at `ports`, or not.
pub(crate) fn set_port(memory: &IdentityMemory, ports: Spa, port: u16, exits: bool) {
    set_bit(memory, ports, port.into(), exits);
}

fn set_bit(memory: &IdentityMemory, map: Spa, bit: u64, on: bool) {
    let at = map.word(bit / 64);
    let mask = 1 << (bit % 64);
    let word = memory.read_u64(at) & !mask;
    memory.write_u64(at, word | if on { mask } else { 0 });
}

/// A VM on VMX.
#[derive(Debug)]
pub struct VmxVm {
    maps: MsrMaps<MsrBitmap>,
    memory: IdentityMemory,
    nested_root: Spa,
    tag: u16,
}

impl VmxVm {
    pub(crate) fn msr_bitmap(&self) -> u64 {
        self.maps.exits().map.raw()
    }

    pub(crate) fn io_bitmaps(&self) -> [u64; 2] {
        [1, 2].map(|page| self.maps.exits().map.nth_page(page).raw())
    }

    /// The EPT pointer to its own tables.
    pub(crate) fn ept_pointer(&self) -> u64 {
        ept_pointer(self.nested_root)
    }

    pub(crate) fn tag(&self) -> u16 {
        self.tag
    }

    pub(crate) fn maps(&self) -> MsrMaps<MsrBitmap> {
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
        let requests = MsrRequests::new(memory, bitmap.wrapping_add(REQUESTS));
        let exits = MsrBitmap { memory, map: bitmap };
        let maps = if tag == ROOT_TAG {
            // Reads pass, writes exit.
            fill(&memory, bitmap, WRITES..PAGE_SIZE);
            for port in acpi_sleep::ports() {
                set_bit(&memory, bitmap.nth_page(1), u64::from(port), true);
            }
            MsrMaps::of_root(exits, requests, &TABLE)
        } else {
            fill(&memory, bitmap, 0..PAGES as u64 * PAGE_SIZE);
            MsrMaps::of_guest(exits, requests, &TABLE)
        };
        Ok(Self { maps, memory, nested_root, tag })
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(self.maps.exits().map, PAGES);
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
        set_bit(&self.memory, self.maps.exits().map.nth_page(1), u64::from(port), exits);
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
        let requests = MsrRequests::new(memory, bitmap);
        let maps = MsrMaps::of_guest(MsrBitmap { memory, map: bitmap }, requests, &TABLE);
        Self { maps, memory, nested_root: Spa::new(0x2_0000), tag }
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
