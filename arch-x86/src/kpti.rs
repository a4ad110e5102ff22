//! Page tables of their own for kernel and extension, on processors that leak what is mapped and not allowed (Meltdown).
//!
//! The extension's tables map its own memory and, for ring 0 alone, what entering and leaving ring 3 takes: the code in the
//! section `plinth_entry` and each processor's [`PerCpu`](crate::per_cpu::PerCpu). Those lie at the same addresses in the
//! kernel's tables, so CR3 may change anywhere in that code.
//!
//! With process-context identifiers (PCIDs) the two share the TLB, and neither way costs a flush: see [`flush`] for what
//! that means when the extension has lost a page.

use core::arch::asm;
use core::mem::offset_of;

use plinth_hal::{PAGE_SIZE, Spa, SpaRange};
use plinth_kernel::PpResources;

/// CR4.PCIDE: CR3 has a PCID (Intel SDM vol. 3A, 4.10.1; AMD APM vol. 2, 5.5.1).
const PCIDE: u64 = 1 << 17;
/// CR4.PGE: a change of it empties the TLB of every PCID (Intel SDM vol. 3A, 4.10.4.1; AMD APM vol. 2, 5.5.3).
const PGE: u64 = 1 << 7;
/// In CR3: the TLB keeps what it has of this PCID.
const KEEP: u64 = 1 << 63;
/// The extension's PCID; the kernel's is 0.
const USER_PCID: u64 = 1;

/// What entering and leaving ring 3 writes to CR3 on a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct KptiRoots {
    /// On the way to the kernel; 0: nothing.
    kernel: u64,
    /// On the way to the extension; 0: nothing.
    user: u64,
    /// [`Self::SEPARATE`], or 0.
    separate: u64,
}

impl KptiRoots {
    /// One tree serves both.
    pub const SHARED: Self = Self { kernel: 0, user: 0, separate: 0 };

    /// Offsets of the fields.
    pub(crate) const KERNEL: usize = offset_of!(Self, kernel);
    pub(crate) const USER: usize = offset_of!(Self, user);
    pub(crate) const KIND: usize = offset_of!(Self, separate);
    /// The sign of a doubleword, so that one look tells it from how the extension is entered.
    pub(crate) const SEPARATE: u64 = 1 << 31;

    /// Those that the kernel made for a processor, which has PCIDs or not.
    pub fn new(resources: &PpResources, pcids: bool) -> Self {
        let (kernel, user) = (resources.host_root.raw(), resources.user_root.raw());
        match (kernel == user, pcids) {
            (true, _) => Self::SHARED,
            (false, true) => {
                Self { kernel: kernel | KEEP, user: user | USER_PCID | KEEP, separate: Self::SEPARATE }
            }
            (false, false) => Self { kernel, user, separate: Self::SEPARATE },
        }
    }

    /// The bits of CR4 that they take.
    pub fn cr4(&self) -> u64 {
        if self.kernel & KEEP != 0 { PCIDE } else { 0 }
    }

    pub(crate) fn are_separate(&self) -> bool {
        self.separate != 0
    }
}

/// Whether the processor has PCIDs.
pub fn has_pcids() -> bool {
    const PCID: u32 = 1 << 17;
    crate::cpuid::native(1, 0)[2] & PCID != 0
}

/// The pages that hold the code by which ring 3 is entered and left.
pub fn entry_code() -> SpaRange {
    unsafe extern "C" {
        static __start_plinth_entry: u8;
        static __stop_plinth_entry: u8;
    }
    let start = &raw const __start_plinth_entry as u64 & !(PAGE_SIZE - 1);
    let end = (&raw const __stop_plinth_entry as u64).wrapping_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
    SpaRange::new(Spa::new(start), end.saturating_sub(start))
}

/// Empties this processor's TLB of the kernel's and the extension's tables.
pub fn flush() {
    let cr4: u64;
    // SAFETY: reading CR4 at privilege level 0 changes nothing; nothing is mapped global, so that PGE means nothing else than
    // the flush that its changes are.
    unsafe {
        asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags));
        if cr4 & PCIDE != 0 {
            asm!("mov cr4, {}", "mov cr4, {}", in(reg) cr4 ^ PGE, in(reg) cr4, options(nostack, preserves_flags));
            return;
        }
    }
    x86_64::instructions::tlb::flush_all();
}

/// Loads CR3 and CR4 so that nothing stays of what another system had under any PCID.
///
/// # Safety
/// The tables at `cr3`, which has no PCID, map the running code and all memory in use at the same addresses; the processor
/// takes `cr4`.
pub(crate) unsafe fn load(cr3: u64, cr4: u64) {
    // SAFETY: forwarded to the caller. PCIDE goes and comes while CR3's low bits are 0, and empties the TLB as it goes (Intel
    // SDM vol. 3A, 4.10.4.1).
    unsafe {
        asm!("mov cr3, {}", in(reg) cr3, options(nostack, preserves_flags));
        asm!("mov cr4, {}", "mov cr4, {}", in(reg) cr4 & !PCIDE, in(reg) cr4, options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use plinth_hal::ExitFrame;

    use super::*;

    fn resources(host_root: u64, user_root: u64) -> PpResources {
        let [host_root, user_root] = [host_root, user_root].map(Spa::new);
        let none = Spa::new(0);
        PpResources {
            pp: 0,
            stack_top: none,
            backend: none,
            exit_page: ExitFrame::new(none),
            host_root,
            user_root,
        }
    }

    #[test]
    fn one_tree_is_never_loaded() {
        let tables = KptiRoots::new(&resources(0x1000, 0x1000), true);
        assert_eq!((tables, tables.cr4()), (KptiRoots::SHARED, 0));
        assert!(!tables.are_separate());
    }

    #[test]
    fn two_trees_share_the_tlb_by_pcids() {
        let tables = KptiRoots::new(&resources(0x1000, 0x2000), true);
        assert_eq!((tables.kernel, tables.user), (1 << 63 | 0x1000, 1 << 63 | 0x2001));
        assert_eq!(tables.cr4(), 1 << 17);
        assert!(tables.are_separate());
    }

    #[test]
    fn without_pcids_each_load_flushes() {
        let tables = KptiRoots::new(&resources(0x1000, 0x2000), false);
        assert_eq!((tables.kernel, tables.user, tables.cr4()), (0x1000, 0x2000, 0));
        assert!(tables.are_separate());
    }

    #[test]
    fn ring_3_is_left_into_the_entry_code() {
        let separate = KptiRoots::new(&resources(0x1000, 0x2000), true);
        let code = entry_code();
        assert!(code.start.is_aligned(PAGE_SIZE) && (1..=3).contains(&(code.size / PAGE_SIZE)), "{code:?}");
        let ways = [
            crate::user::system_call_entry(separate),
            crate::user::from_ring_3 as *const () as u64,
            crate::nmi::ends_turn as *const () as u64,
        ];
        assert!(ways.iter().all(|way| code.contains(Spa::new(*way))), "{ways:x?} {code:?}");
        assert_ne!(crate::user::system_call_entry(KptiRoots::SHARED), ways[0]);
    }
}
