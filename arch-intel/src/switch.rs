//! The world switch: from the kernel into a guest and back. The general registers go straight from and to the exit
//! page; the VMCS holds the rest.

use core::arch::naked_asm;

use plinth_arch_x86::per_cpu::KERNEL_SS;
use plinth_arch_x86::speculation::Processor;

/// How an entry ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The guest ran, or VM entry refused its state: the exit reason tells.
    Exit,
    /// The instruction failed; the VMCS names the error.
    Failed,
    /// An NMI came first.
    Interrupted,
}

/// How a guest is entered.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Entry(u32);

impl Entry {
    /// The VMCS is launched: VMRESUME.
    const LAUNCHED: u32 = 1;
    /// VERW first, so that the guest cannot sample what the kernel has just touched. The sign, so that one look tells all.
    const CLEARS_BUFFERS: u32 = 1 << 31;

    /// The one for a processor, of a VMCS that is not launched.
    pub(crate) fn new(processor: &Processor) -> Self {
        Self(if processor.clears_buffers() { Self::CLEARS_BUFFERS } else { 0 })
    }

    /// The same for a VMCS that is launched, or not.
    #[inline]
    pub(crate) fn with(self, launched: bool) -> Self {
        Self(self.0 | if launched { Self::LAUNCHED } else { 0 })
    }
}

/// Enters the guest of the current VMCS.
///
/// # Safety
/// 1. The current VMCS is complete, its launch state is as `entry` says, and `registers` is an exit page.
/// 2. `host_rsp` is what that VMCS holds as the host's stack pointer; `flag` is this processor's NMI note.
/// 3. The guest's lazily switched registers are loaded.
#[inline]
pub(crate) unsafe fn run(registers: u64, entry: Entry, host_rsp: &mut u64, flag: *const u32) -> Outcome {
    // SAFETY: forwarded to the caller.
    match unsafe { enter(registers, entry, host_rsp, flag) } {
        0 => Outcome::Exit,
        1 => Outcome::Failed,
        _ => Outcome::Interrupted,
    }
}

/// Where VM exits arrive.
pub(crate) fn exit_address() -> u64 {
    &raw const plinth_vmx_exit as u64
}

unsafe extern "C" {
    static plinth_vmx_exit: u8;
}

/// See [`run`].
///
/// # Safety
/// As [`run`].
#[unsafe(naked)]
unsafe extern "sysv64" fn enter(registers: u64, entry: Entry, host_rsp: &mut u64, flag: *const u32) -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "cmp rsp, [rdx]",
        "je 2f",
        "mov [rdx], rsp",
        "mov eax, 0x6C14",
        "vmwrite rax, rsp",
        "2:",
        ".globl plinth_vmx_entry_start",
        "plinth_vmx_entry_start: cmp dword ptr [rcx], 0",
        "jne plinth_vmx_entry_end",
        "test esi, esi",
        "js 6f",
        "7:",
        "mov rax, [rdi + 8 * 0]",
        "mov rcx, [rdi + 8 * 1]",
        "mov rdx, [rdi + 8 * 2]",
        "mov rbx, [rdi + 8 * 3]",
        "mov rbp, [rdi + 8 * 5]",
        "mov rsi, [rdi + 8 * 6]",
        "mov r8, [rdi + 8 * 8]",
        "mov r9, [rdi + 8 * 9]",
        "mov r10, [rdi + 8 * 10]",
        "mov r11, [rdi + 8 * 11]",
        "mov r12, [rdi + 8 * 12]",
        "mov r13, [rdi + 8 * 13]",
        "mov r14, [rdi + 8 * 14]",
        "mov r15, [rdi + 8 * 15]",
        "mov rdi, [rdi + 8 * 7]",
        "jnz 3f",
        "vmlaunch",
        "jmp 4f",
        "3:",
        "vmresume",
        "jmp 4f",
        "6:",
        "verw word ptr [rip + 8f]",
        "and esi, {launched}",
        "jmp 7b",
        "8: .short {kernel_ss}",
        ".globl plinth_vmx_entry_end",
        "plinth_vmx_entry_end: mov eax, 2",
        "jmp 5f",
        "4:",
        "mov eax, 1",
        "jmp 5f",
        ".globl plinth_vmx_exit",
        "plinth_vmx_exit: push rdi",
        "mov rdi, [rsp + 8]",
        "mov [rdi + 8 * 0], rax",
        "mov [rdi + 8 * 1], rcx",
        "mov [rdi + 8 * 2], rdx",
        "mov [rdi + 8 * 3], rbx",
        "mov [rdi + 8 * 5], rbp",
        "mov [rdi + 8 * 6], rsi",
        "mov [rdi + 8 * 8], r8",
        "mov [rdi + 8 * 9], r9",
        "mov [rdi + 8 * 10], r10",
        "mov [rdi + 8 * 11], r11",
        "mov [rdi + 8 * 12], r12",
        "mov [rdi + 8 * 13], r13",
        "mov [rdi + 8 * 14], r14",
        "mov [rdi + 8 * 15], r15",
        "pop qword ptr [rdi + 8 * 7]",
        "xor eax, eax",
        "5:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "cld",
        "ret",
        launched = const Entry::LAUNCHED,
        kernel_ss = const KERNEL_SS,
    )
}
