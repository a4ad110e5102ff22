//! The ways into ring 3 and out of it, in assembly.
//!
//! All that runs under the extension's tables, where those are not the kernel's, lies in the section `plinth_entry`, which
//! both map, and touches nothing of the kernel's but the processor's [`PerCpu`]: on the way in from the load of CR3 on, on
//! the way out up to it.

use core::arch::naked_asm;

use super::{EXIT_FAULT, MODE_RESUME, UserRegisters};
use crate::kpti::KptiRoots;
use crate::per_cpu::{KERNEL_SS, PerCpu, USER_CS, USER_SS};

/// RFLAGS of the kernel: bit 1 is always set.
const KERNEL_FLAGS: u64 = 1 << 1;

/// [`naked_asm`] that knows the places of [`UserRegisters`] by name. The comment at the end names them all, since each must
/// be used.
macro_rules! user_asm {
    ($($line:expr,)* ; $($name:ident = $kind:ident $value:expr,)*) => {
        naked_asm!(
            $($line,)*
            "/* {rax} {rbx} {rcx} {rdx} {rsi} {rdi} {rbp} {rsp} {rip} {rflags} */",
            "/* {r8} {r9} {r10} {r11} {r12} {r13} {r14} {r15} {mode} {vector} {error} {cr2} */",
            rax = const core::mem::offset_of!(UserRegisters, rax),
            rbx = const core::mem::offset_of!(UserRegisters, rbx),
            rcx = const core::mem::offset_of!(UserRegisters, rcx),
            rdx = const core::mem::offset_of!(UserRegisters, rdx),
            rsi = const core::mem::offset_of!(UserRegisters, rsi),
            rdi = const core::mem::offset_of!(UserRegisters, rdi),
            rbp = const core::mem::offset_of!(UserRegisters, rbp),
            rsp = const core::mem::offset_of!(UserRegisters, rsp),
            rip = const core::mem::offset_of!(UserRegisters, rip),
            rflags = const core::mem::offset_of!(UserRegisters, rflags),
            r8 = const core::mem::offset_of!(UserRegisters, r8),
            r9 = const core::mem::offset_of!(UserRegisters, r9),
            r10 = const core::mem::offset_of!(UserRegisters, r10),
            r11 = const core::mem::offset_of!(UserRegisters, r11),
            r12 = const core::mem::offset_of!(UserRegisters, r12),
            r13 = const core::mem::offset_of!(UserRegisters, r13),
            r14 = const core::mem::offset_of!(UserRegisters, r14),
            r15 = const core::mem::offset_of!(UserRegisters, r15),
            mode = const core::mem::offset_of!(UserRegisters, mode),
            vector = const core::mem::offset_of!(UserRegisters, vector),
            error = const core::mem::offset_of!(UserRegisters, error),
            cr2 = const core::mem::offset_of!(UserRegisters, cr2),
            $($name = $kind $value,)*
        )
    };
}

/// For an upcall: nothing of the kernel's in any register but RDI, RSI, RDX, RSP, and those that SYSRET takes. RAX is 0.
macro_rules! clear_rest {
    () => {
        "xor ebx, ebx
        xor ebp, ebp
        xor r8d, r8d
        xor r9d, r9d
        xor r10d, r10d
        xor r12d, r12d
        xor r13d, r13d
        xor r14d, r14d
        xor r15d, r15d"
    };
}

/// For the way back: all registers but RAX, RCX, RDX, RSI, RDI, RSP and R11.
macro_rules! load_rest {
    () => {
        "mov rbx, [rsi + {rbx}]
        mov rbp, [rsi + {rbp}]
        mov r8, [rsi + {r8}]
        mov r9, [rsi + {r9}]
        mov r10, [rsi + {r10}]
        mov r12, [rsi + {r12}]
        mov r13, [rsi + {r13}]
        mov r14, [rsi + {r14}]
        mov r15, [rsi + {r15}]"
    };
}

/// The same for the way out, by way of RCX; RDX, RSI and RDI too.
macro_rules! store_rest {
    () => {
        "mov [rcx + {rdx}], rdx
        mov [rcx + {rsi}], rsi
        mov [rcx + {rdi}], rdi
        mov [rcx + {rbp}], rbp
        mov [rcx + {r8}], r8
        mov [rcx + {r9}], r9
        mov [rcx + {r10}], r10
        mov [rcx + {r12}], r12
        mov [rcx + {r13}], r13
        mov [rcx + {r14}], r14
        mov [rcx + {r15}], r15"
    };
}

/// See [`super::run`] and [`super::call_enter`].
///
/// # Safety
/// As [`super::run`]; and the caller expects R12 to R15 to be lost.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn enter(per_cpu: *mut PerCpu, registers: *mut UserRegisters) -> u64 {
    user_asm!(
        "push rbx",
        "push rbp",
        "push rsi",
        "mov [rdi + {kernel_rsp}], rsp",
        "mov eax, [rsi + {mode}]",
        "mov rcx, [rsi + {rip}]",
        "mov r11, [rdi + {flags}]",
        // Zero: an upcall, under the kernel's tables. Negative: under others.
        "or eax, [rdi + {kind}]",
        "mov rdx, [rsi + {rdx}]",
        "jnz 2f",
        "mov rdi, [rsi + {rdi}]",
        "mov rsp, [rsi + {rsp}]",
        "mov rsi, [rsi + {rsi}]",
        clear_rest!(),
        "sysretq",
        "2:",
        "js {enter_separate}",
        "cmp eax, {mode_resume}",
        "je {resume}",
        load_rest!(),
        "mov rdi, [rsi + {rdi}]",
        "mov rax, [rsi + {rax}]",
        "mov rsp, [rsi + {rsp}]",
        "mov rsi, [rsi + {rsi}]",
        "sysretq",
        ;
        kernel_rsp = const PerCpu::KERNEL_RSP,
        kind = const PerCpu::TABLES + KptiRoots::KIND,
        flags = const PerCpu::USER_FLAGS,
        mode_resume = const MODE_RESUME,
        enter_separate = sym enter_separate,
        resume = sym resume,
    )
}

/// The same under tables of the extension's own: [`enter`] has got as far as its first jump. R11 holds what CR3 gets, until
/// SYSRET wants it. VERW of a segment that can be written clears the buffers that others sample (MDS), where the microcode
/// has it do so (Intel SDM vol. 2B, VERW; CPUID 7.0 EDX bit 10); else it does no harm.
///
/// # Safety
/// Only [`enter`] may jump here.
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
unsafe extern "sysv64" fn enter_separate() {
    user_asm!(
        "mov r11, [rdi + {user}]",
        "and eax, 0x7fffffff",
        "jnz 2f",
        "mov rdi, [rsi + {rdi}]",
        "mov rsp, [rsi + {rsp}]",
        "mov rsi, [rsi + {rsi}]",
        clear_rest!(),
        "jmp 3f",
        "2:",
        "cmp eax, {mode_resume}",
        "je {resume}",
        load_rest!(),
        "mov rdi, [rsi + {rdi}]",
        "mov rax, [rsi + {rax}]",
        "mov rsp, [rsi + {rsp}]",
        "mov rsi, [rsi + {rsi}]",
        "3:",
        "mov cr3, r11",
        "verw word ptr [rip + plinth_kernel_ss]",
        "swapgs",
        "mov r11, gs:[{flags}]",
        "swapgs",
        "sysretq",
        ".globl plinth_kernel_ss",
        "plinth_kernel_ss: .short {kernel_ss}",
        ;
        kernel_ss = const KERNEL_SS,
        user = const PerCpu::TABLES + KptiRoots::USER,
        flags = const PerCpu::USER_FLAGS,
        mode_resume = const MODE_RESUME,
        resume = sym resume,
    )
}

/// The same after a fault, where RCX, R11 and RFLAGS matter too: returns by IRETQ, through a frame on the stack on which
/// faults arrive.
///
/// # Safety
/// Only [`enter`] and [`enter_separate`] may jump here.
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
unsafe extern "sysv64" fn resume() {
    user_asm!(
        "mov rsp, [rdi + {rsp0}]",
        "push {user_ss}",
        "push qword ptr [rsi + {rsp}]",
        "push qword ptr [rsi + {rflags}]",
        "push {user_cs}",
        "push rcx",
        "push qword ptr [rsi + {r11}]",
        "mov r11, [rdi + {user}]",
        load_rest!(),
        "mov rdi, [rsi + {rdi}]",
        "mov rax, [rsi + {rax}]",
        "mov rcx, [rsi + {rcx}]",
        "mov rsi, [rsi + {rsi}]",
        "test r11, r11",
        "jz 2f",
        "mov cr3, r11",
        "verw word ptr [rip + plinth_kernel_ss]",
        "2:",
        "pop r11",
        "iretq",
        ;
        rsp0 = const PerCpu::RSP0,
        user = const PerCpu::TABLES + KptiRoots::USER,
        user_cs = const USER_CS,
        user_ss = const USER_SS,
    )
}

/// Where `SYSCALL` arrives (LSTAR): RCX holds the extension's RIP, R11 its RFLAGS, all else is its own.
///
/// # Safety
/// Only the processor may call it.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn system_call() {
    user_asm!(
        "swapgs",
        "mov gs:[{user_rsp}], rsp",
        ".globl plinth_system_call",
        "plinth_system_call: mov rsp, gs:[{kernel_rsp}]",
        "push rcx",
        "mov rcx, [rsp + 8]",
        "mov [rcx + {r11}], r11",
        "mov r11, gs:[{user_rsp}]",
        "swapgs",
        "mov [rcx + {rsp}], r11",
        "pop qword ptr [rcx + {rip}]",
        "mov [rcx + {rax}], rax",
        "mov [rcx + {rbx}], rbx",
        store_rest!(),
        "xor eax, eax",
        "add rsp, 8",
        "pop rbp",
        "pop rbx",
        "ret",
        ;
        user_rsp = const PerCpu::USER_RSP,
        kernel_rsp = const PerCpu::KERNEL_RSP,
    )
}

/// The same under tables of the extension's own.
///
/// # Safety
/// Only the processor may call it.
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
pub(super) unsafe extern "sysv64" fn system_call_separate() {
    naked_asm!(
        "swapgs",
        "mov gs:[{user_rsp}], rsp",
        "mov rsp, gs:[{kernel}]",
        "mov cr3, rsp",
        "jmp plinth_system_call",
        user_rsp = const PerCpu::USER_RSP,
        kernel = const PerCpu::TABLES + KptiRoots::KERNEL,
    )
}

/// Where all exceptions of ring 3 go on, whichever stack they came on, with the vector and the error code pushed below the
/// processor's frame. GS is the extension's, because ring 3 was left by no system call.
///
/// # Safety
/// Only stubs may jump here.
#[unsafe(naked)]
#[unsafe(link_section = "plinth_entry")]
pub(crate) unsafe extern "sysv64" fn from_ring_3() {
    user_asm!(
        "push rcx",
        "push rbx",
        "swapgs",
        "mov rcx, gs:[{kernel}]",
        "test rcx, rcx",
        "jz 2f",
        "mov cr3, rcx",
        "2:",
        "mov rbx, gs:[{kernel_rsp}]",
        "swapgs",
        "mov rcx, [rbx]",
        "mov [rcx + {rax}], rax",
        "mov [rcx + {r11}], r11",
        store_rest!(),
        "pop qword ptr [rcx + {rbx}]",
        "pop qword ptr [rcx + {rcx}]",
        "pop qword ptr [rcx + {vector}]",
        "pop qword ptr [rcx + {error}]",
        "pop qword ptr [rcx + {rip}]",
        // CS.
        "pop rax",
        "pop qword ptr [rcx + {rflags}]",
        "pop qword ptr [rcx + {rsp}]",
        "mov rax, cr2",
        "mov [rcx + {cr2}], rax",
        // What `enter` pushed, but for its argument. An interrupt gate leaves the direction, and RFLAGS.AC, which would switch
        // SMAP off (AMD APM vol. 2, 5.6.6).
        "lea rsp, [rbx + 8]",
        "push {flags}",
        "popfq",
        "pop rbp",
        "pop rbx",
        "mov eax, {exit_fault}",
        "ret",
        ;
        kernel = const PerCpu::TABLES + KptiRoots::KERNEL,
        kernel_rsp = const PerCpu::KERNEL_RSP,
        flags = const KERNEL_FLAGS,
        exit_fault = const EXIT_FAULT,
    )
}
