//! NMIs while the kernel runs.
//!
//! VMX cannot hold NMIs back as AMD's global interrupt flag does. The handler therefore only notes that one came, and the
//! kernel looks at the note where it enters a guest or goes to sleep. Between that look and the entry or the sleep another
//! one may arrive: the handler moves an instruction pointer in there to the way out.

use core::arch::naked_asm;

use plinth_arch_x86::nmi;

/// The handler. The note lies above the five words that the processor pushes.
///
/// # Safety
/// Only the processor may call it, through an IDT entry with the stack of [`nmi::NmiNote::stack`].
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
pub(crate) unsafe extern "sysv64" fn handler() {
    naked_asm!(
        "test byte ptr [rsp + 8], 3",
        "jnz {ends_turn}",
        "inc dword ptr [rsp + 40]",
        "push rax",
        "push rcx",
        "mov rax, [rsp + 16]",
        "lea rcx, [rip + plinth_vmx_entry_start]",
        "cmp rax, rcx",
        "jb 2f",
        "lea rcx, [rip + plinth_vmx_entry_end]",
        "cmp rax, rcx",
        "jb 3f",
        "2:",
        "lea rcx, [rip + plinth_vmx_sleep_start]",
        "cmp rax, rcx",
        "jb 4f",
        "lea rcx, [rip + plinth_vmx_sleep_end]",
        "cmp rax, rcx",
        "jae 4f",
        "3:",
        "mov [rsp + 16], rcx",
        "4:",
        "pop rcx",
        "pop rax",
        "iretq",
        ends_turn = sym nmi::ends_turn,
    )
}

/// Halts until an NMI, unless one has been noted.
///
/// # Safety
/// The kernel's IDT with [`handler`] is loaded, maskable interrupts are off, and `flag` is [`nmi::NmiNote::flag`].
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64" fn halt_until_nmi(flag: *const u32) {
    naked_asm!(
        ".globl plinth_vmx_sleep_start",
        "plinth_vmx_sleep_start: cmp dword ptr [rdi], 0",
        "jne plinth_vmx_sleep_end",
        // BOUND: those of its callers.
        "hlt",
        ".globl plinth_vmx_sleep_end",
        "plinth_vmx_sleep_end: ret",
    )
}
