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

/// Lets pending interrupts in, as far as the APIC's priorities allow, and forbids them and NMIs again: they are only taken,
/// not served.
///
/// # Safety
/// As [`halt_until_nmi`]; and the IDT leads every interrupt to [`interrupt_stub`].
#[unsafe(naked)]
pub unsafe extern "sysv64" fn accept_interrupts() {
    naked_asm!(
        "stgi",
        "sti",
        "nop",
        "nop",
        "cli",
        "clgi",
        "ret",
        ".globl plinth_accept_stub",
        "plinth_accept_stub: iretq",
    )
}

/// Where the IDT leads maskable interrupts, which the kernel allows only in [`accept_interrupts`].
pub(crate) fn interrupt_stub() -> u64 {
    &raw const plinth_accept_stub as u64
}

unsafe extern "C" {
    static plinth_accept_stub: u8;
}
