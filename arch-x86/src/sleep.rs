//! Sleeping until an NMI, without missing one.
//!
//! An NMI may arrive between the look at a flag and the HLT. Its handler therefore moves an instruction
//! pointer that is anywhere in the sequence to its end: the processor then looks again instead of sleeping.

use core::arch::naked_asm;

/// Allows NMIs, and halts unless one arrives; then forbids them again (AMD: by the global interrupt flag).
/// Returns whether one arrived.
///
/// # Safety
/// 1. The kernel's IDT is loaded, and EFER.SVME is set.
/// 2. Maskable interrupts are off.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn halt_until_nmi() -> bool {
    naked_asm!(
        ".globl plinth_sleep_start",
        "plinth_sleep_start: stgi",
        "hlt",
        "nop",
        "clgi",
        "xor eax, eax",
        "ret",
        ".globl plinth_sleep_end",
        "plinth_sleep_end: clgi",
        "mov eax, 1",
        "ret",
    )
}

/// Lets a pending NMI in, and forbids them again. Returns whether there was one.
///
/// # Safety
/// As [`halt_until_nmi`].
#[unsafe(naked)]
pub unsafe extern "sysv64" fn take_pending_nmi() -> bool {
    naked_asm!(
        ".globl plinth_take_start",
        "plinth_take_start: stgi",
        "nop",
        "nop",
        "clgi",
        "xor eax, eax",
        "ret",
        ".globl plinth_take_end",
        "plinth_take_end: clgi",
        "mov eax, 1",
        "ret",
    )
}

/// Lets pending interrupts in, as far as the APIC's priorities allow, and forbids them and NMIs again: they are only taken,
/// not served. Returns whether an NMI came.
///
/// # Safety
/// As [`halt_until_nmi`]; and the IDT leads every interrupt to [`interrupt_stub`].
#[unsafe(naked)]
pub unsafe extern "sysv64" fn accept_interrupts() -> bool {
    naked_asm!(
        // An NMI ends the sequence wherever it is, even inside the stub: so the stack is put right from R8.
        "mov r8, rsp",
        ".globl plinth_accept_start",
        "plinth_accept_start: stgi",
        "sti",
        "nop",
        "nop",
        "cli",
        "clgi",
        "xor eax, eax",
        "ret",
        ".globl plinth_accept_stub",
        "plinth_accept_stub: iretq",
        ".globl plinth_accept_end",
        "plinth_accept_end: mov rsp, r8",
        "cli",
        "clgi",
        "mov eax, 1",
        "ret",
    )
}

/// Where the IDT leads maskable interrupts, which the kernel allows only in [`accept_interrupts`].
pub(crate) fn interrupt_stub() -> u64 {
    &raw const plinth_accept_stub as u64
}

unsafe extern "C" {
    static plinth_accept_start: u8;
    static plinth_accept_stub: u8;
    static plinth_accept_end: u8;
    static plinth_sleep_start: u8;
    static plinth_sleep_end: u8;
    static plinth_take_start: u8;
    static plinth_take_end: u8;
}

/// Where to go on after an NMI at `rip`.
pub(crate) fn wake(rip: u64) -> u64 {
    let sleep = &raw const plinth_sleep_start as u64..&raw const plinth_sleep_end as u64;
    let take = &raw const plinth_take_start as u64..&raw const plinth_take_end as u64;
    let accept = &raw const plinth_accept_start as u64..&raw const plinth_accept_end as u64;
    match rip {
        rip if accept.contains(&rip) => accept.end,
        rip if sleep.contains(&rip) => sleep.end,
        rip if take.contains(&rip) => take.end,
        rip => rip,
    }
}
