//! The world switch: enters EL1 or EL0, and comes back at the next exception.
//!
//! [`enter`] looks like a function that returns when the lower exception level stops. It pushes X19, X29, X30 and the
//! address of the guest's or extension's registers on the EL2 stack, and executes ERET. The CPU keeps that stack pointer in
//! SP_EL2. The exception vectors find everything from SP_EL2 alone: they store the lower level's registers, restore the
//! kernel's and return from [`enter`]. Guest and extension have their general registers in memory in the same order, X0 to
//! X30, so that both share one way up.
//!
//! The assembly saves only the kernel registers that the compiler cannot mark as clobbered. All others are clobbers, and the
//! compiler saves those that hold a live value, which are almost none.

use core::arch::{asm, global_asm, naked_asm};

use aarch64_cpu::registers::{ELR_EL2, ESR_EL2, FAR_EL2, Readable};

use crate::kernel_fault::OwnFault;
use crate::syndrome::Syndrome;
use crate::sysreg::write_system;

/// A result of [`enter`]: a synchronous exception.
pub(crate) const SYNCHRONOUS: u64 = 0;
/// A physical interrupt.
pub(crate) const IRQ: u64 = 1;
/// A physical fast interrupt.
pub(crate) const FIQ: u64 = 2;
/// An SError.
pub(crate) const SERROR: u64 = 3;

unsafe extern "C" {
    /// The exception vectors.
    static __plinth_vectors: u8;
}

/// The address of the exception vectors, for VBAR_EL2.
pub(crate) fn vectors() -> u64 {
    (&raw const __plinth_vectors) as u64
}

/// Calls one of the entry routines, which preserve X19, X29 and the stack.
macro_rules! go_down {
    ($way:path, $first:expr $(, $register:tt = $value:expr)*) => {{
        let kind;
        asm!(
            "bl {way}",
            way = sym $way,
            inout("x0") $first => kind,
            $(in($register) $value,)*
            out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _,
            out("x25") _, out("x26") _, out("x27") _, out("x28") _,
            clobber_abi("C"),
        );
        kind
    }};
}

/// Goes to ELR_EL2 in the state SPSR_EL2 with the registers X0 to X30 at `registers`, and stores them there again
/// when an exception comes back. Returns its kind.
///
/// # Safety
/// 1. VBAR_EL2 holds [`fpsimd`], and EL2's own stack is in use.
/// 2. `registers` points to 31 words that are mapped, and nobody else uses them meanwhile.
/// 3. What HCR_EL2, VTTBR_EL2 and the rest let the lower level reach is its own.
#[inline(always)]
pub(crate) unsafe fn enter(registers: u64) -> u64 {
    // SAFETY: the code and the vectors, by (1), keep the stack and what is not named as changed; of memory they and the
    // lower level, by (3), touch what the caller lets them, by (2).
    unsafe { go_down!(down, registers) }
}

/// As [`enter`], but X0 to X2 are `arguments`, and the others are 0: what an upcall finds.
///
/// # Safety
/// As [`enter`].
#[inline(always)]
pub(crate) unsafe fn enter_upcall(registers: u64, arguments: [u64; 3]) -> u64 {
    let [first, second, third] = arguments;
    // SAFETY: as in `enter`.
    unsafe { go_down!(down_with_zeroes, first, "x1" = second, "x2" = third, "x3" = registers) }
}

/// No function of C's, whose callers know nothing of what it leaves changed: for [`go_down`] alone.
#[unsafe(naked)]
unsafe extern "C" fn down() {
    naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "stp x19, x0, [sp, #16]",
        "ldp x2, x3, [x0, #16]",
        "ldp x4, x5, [x0, #32]",
        "ldp x6, x7, [x0, #48]",
        "ldp x8, x9, [x0, #64]",
        "ldp x10, x11, [x0, #80]",
        "ldp x12, x13, [x0, #96]",
        "ldp x14, x15, [x0, #112]",
        "ldp x16, x17, [x0, #128]",
        "ldp x18, x19, [x0, #144]",
        "ldp x20, x21, [x0, #160]",
        "ldp x22, x23, [x0, #176]",
        "ldp x24, x25, [x0, #192]",
        "ldp x26, x27, [x0, #208]",
        "ldp x28, x29, [x0, #224]",
        "ldr x30, [x0, #240]",
        "ldp x0, x1, [x0]",
        "eret",
        // A speculation barrier: no instruction after ERET executes.
        "dsb nsh",
        "isb",
    )
}

/// As [`down`], with the address of the registers in X3.
#[unsafe(naked)]
unsafe extern "C" fn down_with_zeroes() {
    naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "stp x19, x3, [sp, #16]",
        "adr x4, 2f",
        "ldp x5, x6, [x4]",
        "ldp x7, x8, [x4]",
        "ldp x9, x10, [x4]",
        "ldp x11, x12, [x4]",
        "ldp x13, x14, [x4]",
        "ldp x15, x16, [x4]",
        "ldp x17, x18, [x4]",
        "ldp x19, x20, [x4]",
        "ldp x21, x22, [x4]",
        "ldp x23, x24, [x4]",
        "ldp x25, x26, [x4]",
        "ldp x27, x28, [x4]",
        "ldp x29, x30, [x4]",
        "ldp x3, x4, [x4]",
        "eret",
        "dsb nsh",
        "isb",
        ".balign 16",
        "2: .xword 0, 0",
    )
}

global_asm!(
    ".pushsection .text.plinth_vectors, \"ax\"",
    ".macro plinth_upward kind",
    ".balign 128",
    "stp x0, x1, [sp, #-16]!",
    "ldr x0, [sp, #40]",
    "stp x2, x3, [x0, #16]",
    "stp x4, x5, [x0, #32]",
    "stp x6, x7, [x0, #48]",
    "stp x8, x9, [x0, #64]",
    "stp x10, x11, [x0, #80]",
    "stp x12, x13, [x0, #96]",
    "stp x14, x15, [x0, #112]",
    "stp x16, x17, [x0, #128]",
    "stp x18, x19, [x0, #144]",
    "stp x20, x21, [x0, #160]",
    "stp x22, x23, [x0, #176]",
    "stp x24, x25, [x0, #192]",
    "stp x26, x27, [x0, #208]",
    "stp x28, x29, [x0, #224]",
    "str x30, [x0, #240]",
    "ldp x2, x3, [sp], #16",
    "stp x2, x3, [x0]",
    "mov x0, #\\kind",
    "ldr x19, [sp, #16]",
    "ldp x29, x30, [sp], #32",
    "ret",
    ".endm",
    ".balign 2048",
    ".global __plinth_vectors",
    "__plinth_vectors:",
    // From EL2 itself, by either stack pointer: a bug.
    ".rept 8",
    ".balign 128",
    "b {own}",
    ".endr",
    // From a lower level in AArch64, then in AArch32: synchronous, IRQ, FIQ, SError.
    ".rept 2",
    "plinth_upward 0",
    "plinth_upward 1",
    "plinth_upward 2",
    "plinth_upward 3",
    ".endr",
    ".purgem plinth_upward",
    ".popsection",
    own = sym own_exception,
);

/// Sets the stack for exceptions of the kernel itself, since such an exception may mean that the current stack is broken.
/// TPIDR_EL2 holds its address; the kernel has no other use for that register.
///
/// # Safety
/// `top` is the top of a mapped stack that nobody else uses.
pub(crate) unsafe fn set_emergency_stack(top: u64) {
    // SAFETY: only the vectors of EL2's own exceptions look there.
    unsafe { write_system!("tpidr_el2", top) };
}

/// An exception of the kernel itself: to another stack. It comes back only where an access was guarded or a test has provoked
/// it, to a function's end.
///
/// # Safety
/// Only the vectors may jump here.
#[unsafe(naked)]
unsafe extern "C" fn own_exception() {
    naked_asm!(
        "mov x0, sp",
        "mrs x1, tpidr_el2",
        "mov sp, x1",
        "stp x0, x30, [sp, #-16]!",
        "bl {own_fault}",
        "ldp x0, x30, [sp], #16",
        "mov sp, x0",
        "eret",
        own_fault = sym own_fault,
    )
}

extern "C" fn own_fault(stack: u64) {
    let fault = OwnFault {
        syndrome: Syndrome(ESR_EL2.get()),
        address: FAR_EL2.get(),
        instruction: ELR_EL2.get(),
        stack,
    };
    if let Some(next) = crate::guarded::recovery(&fault) {
        aarch64_cpu::registers::Writeable::set(&ELR_EL2, next);
        return;
    }
    #[cfg(feature = "fault-injection")]
    if let Some(next) = crate::fault_injection::caught(&fault) {
        aarch64_cpu::registers::Writeable::set(&ELR_EL2, next);
        return;
    }
    // PANIC: an exception of the kernel's own code that it does not expect: the kernel is wrong, and its PP stops with a
    // report. What guests and extensions cause is sorted out above.
    panic!("{fault}");
}
