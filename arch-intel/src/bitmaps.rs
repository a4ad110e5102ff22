//! What all VSs of a VM share: the MSR and I/O bitmaps, the nested table's root and the TLB tag.

use plinth_arch_x86::{IdentityMemory, msr, mtrr};
use plinth_hal::{
    Authority, FrameSource, InterceptError, Intercepts, OutOfFrames, PAGE_SIZE, PhysicalMemory, Spa, VmHw,
};

use crate::Vmx;

/// The MSR bitmap, then I/O bitmaps A and B (Intel SDM vol. 3C, "I/O-Bitmap Addresses", "MSR-Bitmap Address"), then the
/// wishes: see [`wishes_for`].
const PAGES: usize = 4;
const WISHES: u64 = 3 * PAGE_SIZE;
/// From the bitmap of reads to the one of writes.
const WRITES: u64 = 0x800;

/// The root VM's tag.
pub(crate) const ROOT_TAG: u16 = 1;

/// The capability MSRs of VMX.
const VMX_FIRST: u32 = 0x480;
const VMX_LAST: u32 = 0x493;

/// STAR, LSTAR, CSTAR, SFMASK.
const FIRST_SYSTEM_CALL: u32 = msr::index::STAR;
const LAST_SYSTEM_CALL: u32 = msr::index::SFMASK;

const BOTH: Intercepts = Intercepts { reads: true, writes: true };
const WRITES_ONLY: Intercepts = Intercepts { reads: false, writes: true };
const NONE: Intercepts = Intercepts { reads: false, writes: false };

/// Accesses that the kernel itself must see, whatever the extension wants.
fn owned(register: u32) -> Intercepts {
    match register {
        msr::index::FEATURE_CONTROL | VMX_FIRST..=VMX_LAST => BOTH,
        msr::index::APIC_BASE | msr::index::X2APIC_ICR | msr::index::X2APIC_LINT0 => WRITES_ONLY,
        // The kernel knows their values without reading them at each turn of the extension.
        FIRST_SYSTEM_CALL..=LAST_SYSTEM_CALL => WRITES_ONLY,
        // The root VM's map has to follow.
        _ if mtrr::place(register).is_some() => WRITES_ONLY,
        _ => NONE,
    }
}

/// The EPT pointer to tables at `root`: write-back, of four levels, no accessed and dirty flags (Intel SDM vol. 3C,
/// 24.6.11).
pub(crate) fn ept_pointer(root: Spa) -> u64 {
    const WRITE_BACK: u64 = 6;
    const FOUR_LEVELS: u64 = 3 << 3;
    root.raw() | FOUR_LEVELS | WRITE_BACK
}

/// A VM on VMX.
#[derive(Debug)]
pub struct VmxVm {
    memory: IdentityMemory,
    maps: Spa,
    nested_root: Spa,
    tag: u16,
}

impl VmxVm {
    pub(crate) fn msr_bitmap(&self) -> u64 {
        self.maps.raw()
    }

    pub(crate) fn io_bitmaps(&self) -> [u64; 2] {
        [self.maps.raw() + PAGE_SIZE, self.maps.raw() + 2 * PAGE_SIZE]
    }

    /// The EPT pointer to its own tables.
    pub(crate) fn ept_pointer(&self) -> u64 {
        ept_pointer(self.nested_root)
    }

    pub(crate) fn tag(&self) -> u16 {
        self.tag
    }

    /// The word of [`wishes_for`].
    pub(crate) fn wishes(&self) -> Spa {
        Spa::new(self.maps.raw() + WISHES)
    }

    fn set_bit(&self, offset: u64, bit: u64, on: bool) {
        let at = Spa::new(self.maps.raw() + offset + bit / 64 * 8);
        let mask = 1 << (bit % 64);
        let word = self.memory.read_u64(at) & !mask;
        self.memory.write_u64(at, word | if on { mask } else { 0 });
    }
}

/// The place in the word of wishes of a register that the kernel writes for the guest, unless the extension wants to see
/// that: system-call registers, then MTRRs.
fn wish_bit(register: u32) -> Option<u64> {
    const SYSTEM_CALLS: u64 = (LAST_SYSTEM_CALL - FIRST_SYSTEM_CALL + 1) as u64;
    match register {
        FIRST_SYSTEM_CALL..=LAST_SYSTEM_CALL => Some(u64::from(register - FIRST_SYSTEM_CALL)),
        _ => mtrr::place(register).map(|place| SYSTEM_CALLS + place as u64),
    }
}

/// Whether the extension wants to see writes of such a register: they exit in any case. `wishes` is the word behind the
/// bitmaps.
pub(crate) fn wishes_for(wishes: u64, register: u32) -> bool {
    wish_bit(register).is_some_and(|bit| wishes >> bit & 1 != 0)
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
        let mut vm = Self { memory, maps: frames.allocate(PAGES)?, nested_root, tag };
        if tag != ROOT_TAG {
            for word in 0..WISHES / 8 {
                memory.write_u64(Spa::new(vm.maps.raw() + word * 8), u64::MAX);
            }
        }
        let apic = [msr::index::APIC_BASE, msr::index::X2APIC_ICR, msr::index::X2APIC_LINT0];
        let system_calls = FIRST_SYSTEM_CALL..=LAST_SYSTEM_CALL;
        for register in (VMX_FIRST..=VMX_LAST)
            .chain(system_calls)
            .chain(mtrr::registers())
            .chain(apic)
            .chain([msr::index::FEATURE_CONTROL])
        {
            // All of them lie in the bitmap's ranges.
            let intercepts = if tag == ROOT_TAG { NONE } else { BOTH };
            let _ = vm.intercept_register(u64::from(register), intercepts, Authority::Machine);
        }
        Ok(vm)
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(self.maps, PAGES);
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
        let (offset, bit) = msr_position(register).ok_or(InterceptError::Unknown)?;
        let floor = owned(register);
        self.set_bit(offset, bit, intercepts.reads || floor.reads);
        self.set_bit(offset + WRITES, bit, intercepts.writes || floor.writes);
        if let Some(wish) = wish_bit(register) {
            self.set_bit(WISHES, wish, intercepts.writes);
        }
        Ok(())
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
        self.set_bit(PAGE_SIZE, u64::from(port), intercept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msrs_lie_where_the_manual_says() {
        assert_eq!(msr_position(0x1B), Some((0, 0x1B)));
        assert_eq!(msr_position(msr::index::EFER), Some((0x400, 0x80)));
        assert_eq!(msr_position(0xC001_0000), None);
    }

    #[test]
    fn the_registers_of_vmx_are_the_kernels() {
        assert_eq!(owned(0x48B), BOTH);
        assert_eq!(owned(0x3A), BOTH);
        assert_eq!(owned(0x10), NONE);
    }

    #[test]
    fn wishes_about_registers_that_the_kernel_writes_are_kept_apart() {
        assert_eq!(owned(msr::index::LSTAR), WRITES_ONLY);
        assert!(wishes_for(0b0010, msr::index::LSTAR));
        assert!(!wishes_for(0b1101, msr::index::LSTAR));
        assert!(!wishes_for(u64::MAX, msr::index::FS_BASE));
        assert_eq!(owned(0x2FF), WRITES_ONLY);
        assert!(wishes_for(1 << 47, 0x2FF));
        let bits: u64 = (0..0x400).filter_map(wish_bit).map(|bit| 1 << bit).sum();
        assert_eq!(bits, 0xFFFF_FFFF_FFF0, "each has a bit of its own");
    }
}
