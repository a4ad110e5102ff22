//! Sleeping until an NMI, without missing one.
//!
//! An NMI may arrive between the look at a flag and the HLT. Its [handler](crate::nmi::handler) therefore moves an instruction
//! pointer that is anywhere in the sequence to its end: the processor then looks again instead of sleeping. Whether one
//! came is in the [note](crate::nmi::NmiNote).

use core::arch::naked_asm;

/// Allows NMIs, and halts unless one arrives; then forbids them again (AMD: by the global interrupt flag).
///
/// # Safety
/// 1. The kernel's IDT and TSS are loaded, and EFER.SVME is set.
/// 2. Maskable interrupts are off.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn halt_until_nmi() {
    naked_asm!(
        ".globl plinth_sleep_start",
        "plinth_sleep_start: stgi",
        // BOUND: those of its callers.
        "hlt",
        "nop",
        ".globl plinth_sleep_end",
        "plinth_sleep_end: clgi",
        "ret",
    )
}

/// Lets a pending NMI in, and forbids them again.
///
/// # Safety
/// As [`halt_until_nmi`].
#[unsafe(naked)]
pub unsafe extern "sysv64" fn take_pending_nmi() {
    naked_asm!("stgi", "nop", "nop", "clgi", "ret")
}

/// Lets pending interrupts in, as far as the APIC's priorities allow, and forbids them again: they are only taken, not served.
///
/// # Safety
/// The kernel's IDT and TSS are loaded, with a stub for every interrupt, which asks [`accepts_interrupts`]. Maskable interrupts
/// are off; where there is a global interrupt flag, it is set.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn accept_interrupts() {
    naked_asm!(
        "sti",
        ".globl plinth_accept_start",
        "plinth_accept_start: nop",
        "nop",
        "cli",
        ".globl plinth_accept_end",
        "plinth_accept_end: ret",
    )
}

/// Whether an interrupt that came at `rip` is one of those that [`accept_interrupts`] lets in.
pub(crate) fn accepts_interrupts(rip: u64) -> bool {
    (&raw const plinth_accept_start as u64..&raw const plinth_accept_end as u64).contains(&rip)
}

unsafe extern "C" {
    static plinth_accept_start: u8;
    static plinth_accept_end: u8;
}
