//! Invalidating translations. The processors tell each other: every invalidation of EL1&0 is broadcast.

use core::arch::asm;

/// All that any processor's TLB holds of any virtual machine and of the extension, both stages.
pub(crate) fn flush_guests() {
    // SAFETY: invalidation loses nothing but time; the barriers order it after table writes and before what follows.
    unsafe { asm!("dsb ishst", "tlbi alle1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// What any processor's TLB holds of the virtual machine whose VMID is in VTTBR_EL2, both stages.
pub(crate) fn flush_current_guest() {
    // SAFETY: as in `flush_guests`.
    unsafe {
        asm!("isb", "dsb ishst", "tlbi vmalls12e1is", "dsb ish", "isb", options(nostack, preserves_flags))
    };
}

/// The same for this processor's TLB alone.
pub(crate) fn flush_current_guest_here() {
    // SAFETY: as in `flush_guests`.
    unsafe { asm!("dsb nshst", "tlbi vmalls12e1", "dsb nsh", "isb", options(nostack, preserves_flags)) };
}

/// All that this processor's TLB holds of the kernel's own regime, which the extension may share.
pub(crate) fn flush_own() {
    // SAFETY: as in `flush_guests`; every address in use stays mapped.
    unsafe { asm!("dsb nshst", "tlbi alle2", "dsb nsh", "isb", options(nostack, preserves_flags)) };
}
