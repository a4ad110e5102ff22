//! TLB invalidation. The hardware broadcasts each invalidation of EL1&0 to all CPUs.

use core::arch::asm;

/// Invalidates stages 1 and 2 of every VM and of the extension, on all CPUs.
pub(crate) fn flush_guests() {
    // SAFETY: invalidation loses nothing but time; the barriers order it after table writes and before what follows.
    unsafe { asm!("dsb ishst", "tlbi alle1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Invalidates stages 1 and 2 of the VM whose VMID is in VTTBR_EL2, on all CPUs.
pub(crate) fn flush_current_guest() {
    // SAFETY: as in `flush_guests`.
    unsafe {
        asm!("isb", "dsb ishst", "tlbi vmalls12e1is", "dsb ish", "isb", options(nostack, preserves_flags))
    };
}

/// Invalidates stages 1 and 2 of the VM whose VMID is in VTTBR_EL2, on this CPU alone.
pub(crate) fn flush_current_guest_here() {
    // SAFETY: as in `flush_guests`.
    unsafe { asm!("dsb nshst", "tlbi vmalls12e1", "dsb nsh", "isb", options(nostack, preserves_flags)) };
}

/// Invalidates the EL2 (or EL2&0) translations of this CPU: the kernel's, and the extension's where the regime is shared.
pub(crate) fn flush_own() {
    // SAFETY: as in `flush_guests`; every address in use stays mapped.
    unsafe { asm!("dsb nshst", "tlbi alle2", "dsb nsh", "isb", options(nostack, preserves_flags)) };
}
