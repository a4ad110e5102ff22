//! The world switch: from the kernel into a guest and back.
//!
//! VMRUN and #VMEXIT exchange most state by themselves. What they leave (FS, GS, TR, LDTR and the system-call
//! MSRs) moves by VMSAVE and VMLOAD, and only when the extension is entered: an exit that the kernel
//! serves finds the guest's still in place. The general registers go straight from and to the exit page.

use core::arch::{asm, naked_asm};

/// Looks at an exit before the rest of the registers is saved. Returns whether it was served: then the guest runs on.
pub(crate) type Serve = unsafe extern "sysv64" fn(context: *mut ()) -> bool;

/// Runs the guest of the VMCB until it exits with something that `serve` leaves.
///
/// # Safety
/// 1. `vmcb` is the physical address of a VMCB that the kernel has set up, with nested paging on; `registers` is
///    an exit page.
/// 2. EFER.SVME is set, VM_HSAVE_PA holds a page of this processor's, the global interrupt flag is clear and the
///    guest's hidden state is loaded.
/// 3. `serve` may be called with `context`.
#[inline(always)]
pub(crate) unsafe fn run(vmcb: u64, registers: u64, serve: Serve, context: *mut ()) {
    // SAFETY: forwarded to the caller; every register that `enter` does not bring back is named here.
    unsafe {
        asm!(
            "call {enter}",
            enter = sym enter,
            in("rdi") vmcb,
            in("rsi") registers,
            in("rdx") serve,
            in("rcx") context,
            lateout("r12") _,
            lateout("r13") _,
            lateout("r14") _,
            lateout("r15") _,
            clobber_abi("sysv64"),
        );
    }
}

/// At each exit only the registers that a call may change are put into the exit page, and RBX, which CPUID
/// answers in; the other ones stay in place until an exit is left. R12 to R15 are the guest's in the end.
///
/// # Safety
/// As [`run`]; and the caller expects R12 to R15 to be lost.
#[unsafe(naked)]
unsafe extern "sysv64" fn enter(vmcb: u64, registers: u64, serve: Serve, context: *mut ()) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push rdi",
        "push rsi",
        "push rdx",
        "push rcx",
        // Six words and the return address: one more aligns the stack for the call.
        "sub rsp, 8",
        "mov rbp, [rsi + 8 * 5]",
        "mov r12, [rsi + 8 * 12]",
        "mov r13, [rsi + 8 * 13]",
        "mov r14, [rsi + 8 * 14]",
        "mov r15, [rsi + 8 * 15]",
        "2:",
        "mov rsi, [rsp + 24]",
        "mov rax, [rsp + 32]",
        "mov rcx, [rsi + 8 * 1]",
        "mov rdx, [rsi + 8 * 2]",
        "mov rbx, [rsi + 8 * 3]",
        "mov rdi, [rsi + 8 * 7]",
        "mov r8, [rsi + 8 * 8]",
        "mov r9, [rsi + 8 * 9]",
        "mov r10, [rsi + 8 * 10]",
        "mov r11, [rsi + 8 * 11]",
        "mov rsi, [rsi + 8 * 6]",
        "vmrun rax",
        "mov rax, [rsp + 24]",
        "mov [rax + 8 * 1], rcx",
        "mov [rax + 8 * 2], rdx",
        "mov [rax + 8 * 3], rbx",
        "mov [rax + 8 * 6], rsi",
        "mov [rax + 8 * 7], rdi",
        "mov [rax + 8 * 8], r8",
        "mov [rax + 8 * 9], r9",
        "mov [rax + 8 * 10], r10",
        "mov [rax + 8 * 11], r11",
        "mov rdi, [rsp + 8]",
        "call [rsp + 16]",
        "test al, al",
        "jnz 2b",
        "mov rax, [rsp + 24]",
        "mov [rax + 8 * 5], rbp",
        "mov [rax + 8 * 12], r12",
        "mov [rax + 8 * 13], r13",
        "mov [rax + 8 * 14], r14",
        "mov [rax + 8 * 15], r15",
        "add rsp, 40",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

/// Loads FS, GS, TR, LDTR and the system-call MSRs from a VMCB.
///
/// # Safety
/// `vmcb` is the physical address of a VMCB whose hidden state was saved by [`vmsave`]; EFER.SVME is set.
#[inline]
pub(crate) unsafe fn vmload(vmcb: u64) {
    // SAFETY: forwarded to the caller. The kernel itself uses none of what is loaded.
    unsafe { asm!("vmload rax", in("rax") vmcb, options(nostack, preserves_flags)) };
}

/// Saves them into a VMCB.
///
/// # Safety
/// `vmcb` is the physical address of a page that holds a VMCB; EFER.SVME is set.
#[inline]
pub(crate) unsafe fn vmsave(vmcb: u64) {
    // SAFETY: forwarded to the caller.
    unsafe { asm!("vmsave rax", in("rax") vmcb, options(nostack, preserves_flags)) };
}

/// Sets the interrupt flag: VMRUN takes it for physical interrupts while a guest runs whose own flag is about virtual ones
/// (AMD APM vol. 2, 15.21.1). With it clear, such a guest would keep them from the processor.
///
/// # Safety
/// The global interrupt flag is clear until [`cli`], but while a guest runs.
pub(crate) unsafe fn sti() {
    // SAFETY: no interrupt arrives in the kernel, says the caller.
    unsafe { asm!("sti", options(nomem, nostack)) };
}

/// Clears it again.
pub(crate) fn cli() {
    // SAFETY: fewer interrupts than before arrive.
    unsafe { asm!("cli", options(nomem, nostack)) };
}

/// Clears the global interrupt flag: no interrupt, NMI or SMI arrives until it is set.
///
/// # Safety
/// EFER.SVME is set.
#[inline]
pub(crate) unsafe fn clgi() {
    // SAFETY: forwarded to the caller.
    unsafe { asm!("clgi", options(nostack, preserves_flags)) };
}

/// Sets it.
///
/// # Safety
/// EFER.SVME is set, and the IDT can take whatever is pending.
#[inline]
pub(crate) unsafe fn stgi() {
    // SAFETY: forwarded to the caller.
    unsafe { asm!("stgi", options(nostack, preserves_flags)) };
}
