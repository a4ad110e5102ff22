//! Ring 3: entering the extension, and the ways back by system call and by exception.
//!
//! [`enter`] looks like a function that returns when the extension stops. It leaves the kernel's RBX and RBP and
//! the address of the [`UserRegisters`] on the stack and that stack's top in the TSS (RSP0), so that both ways back
//! find everything from the stack alone. R12 to R15 are lost: the compiler, which keeps next to nothing in them
//! across the extension's turn, is told so ([`call_enter`]).
//!
//!
//! * an exception switches to RSP0 by itself; the address lies just above the frame it pushes;
//! * a system call switches nothing: the entry finds RSP0 through GS, which `SWAPGS` makes the kernel's for
//!   four instructions. The extension can't change the base that SWAPGS brings in.
//!
//! The kernel runs with interrupts off. NMIs may come in anywhere here, on AMD too, since the extension runs with GIF set:
//! their handler has a stack of its own and needs nothing of what is in the making here.

use core::arch::{asm, naked_asm};
use core::mem::offset_of;

use plinth_hal::{UserContext, UserExit, UserFault, UserVa};

use crate::nmi;
use crate::per_cpu::{PerCpu, USER_CS, USER_SS};

/// Enters by SYSRET, all registers but the arguments zero.
const MODE_UPCALL: u64 = 0;
/// Enters by SYSRET, as the return from a system call.
const MODE_RETURN: u64 = 1;
/// Enters by IRETQ with every register as it was: after a fault, or an NMI.
const MODE_RESUME: u64 = 2;

/// RFLAGS of the extension: bit 1 is always set. Interrupts stay off: the kernel handles none.
const FLAGS: u64 = 1 << 1;

/// End of the extension's half of the address space. Beyond it SYSRET faults on Intel, and in the kernel at that.
const USER_END: u64 = 1 << 47;

/// What [`enter`] answers for a system call.
const EXIT_CALL: u64 = 0;
/// What [`enter`] answers for a fault.
const EXIT_FAULT: u64 = 1;

/// The extension's registers on one PP.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct UserRegisters {
    rax: u64,
    rbx: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    rbp: u64,
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rip: u64,
    rsp: u64,
    rflags: u64,
    mode: u64,
    vector: u64,
    error: u64,
    cr2: u64,
}

impl UserRegisters {
    /// The fault of an extension that wants to go on where no code can be.
    #[cold]
    fn beyond_the_end(&self) -> UserFault {
        const GENERAL_PROTECTION: u64 = 13;
        UserFault { vector: GENERAL_PROTECTION, error: 0, address: 0, instruction_pointer: self.rip }
    }

    /// What the last [`enter`] ended with.
    fn fault(&self) -> UserFault {
        /// Page fault: CR2 holds the address (AMD APM vol. 2, 8.2.15).
        const PAGE_FAULT: u64 = 14;
        UserFault {
            vector: self.vector,
            error: self.error,
            address: if self.vector == PAGE_FAULT { self.cr2 } else { 0 },
            instruction_pointer: self.rip,
        }
    }
}

impl UserContext for UserRegisters {
    #[inline]
    fn prepare_upcall(&mut self, entry: UserVa, stack: UserVa, arguments: [u64; 3]) {
        self.rip = entry.raw();
        self.rsp = stack.raw();
        [self.rdi, self.rsi, self.rdx] = arguments;
        self.mode = MODE_UPCALL;
    }

    #[inline]
    fn call_number(&self) -> u64 {
        self.rax
    }

    #[inline]
    fn argument(&self, register: usize) -> u64 {
        match register {
            0 => self.rdi,
            1 => self.rsi,
            2 => self.rdx,
            3 => self.r10,
            4 => self.r8,
            5 => self.r9,
            _ => 0,
        }
    }

    fn set_status(&mut self, status: u64) {
        self.rax = status;
        self.mode = MODE_RETURN;
    }

    fn set_output(&mut self, register: usize, value: u64) {
        match register {
            0 => self.rdi = value,
            1 => self.rsi = value,
            2 => self.rdx = value,
            3 => self.r10 = value,
            4 => self.r8 = value,
            5 => self.r9 = value,
            _ => {}
        }
    }
}

/// Runs the extension until it makes a system call, faults, or an NMI comes: then NMIs are blocked until
/// [`nmi::unblock`].
///
/// # Safety
/// 1. `per_cpu` is this processor's, loaded (GDT, IDT, TSS, the system-call MSRs and GS bases).
/// 2. The host page table in CR3 maps the extension and lets ring 3 reach nothing else.
#[inline]
pub unsafe fn run(per_cpu: *mut PerCpu, registers: &mut UserRegisters) -> UserExit {
    if registers.rip >= USER_END {
        return UserExit::Fault(registers.beyond_the_end());
    }
    // SAFETY: forwarded to the caller; `registers` is exclusively ours while the extension runs.
    let exit = unsafe { call_enter(per_cpu, registers) };
    if exit == EXIT_CALL {
        return UserExit::Call;
    }
    registers.mode = MODE_RESUME;
    if registers.vector == nmi::VECTOR { UserExit::Kick } else { UserExit::Fault(registers.fault()) }
}

/// Calls [`enter`], which returns by another way than it came and brings back RBX, RBP and RSP alone.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn call_enter(per_cpu: *mut PerCpu, registers: *mut UserRegisters) -> u64 {
    let exit;
    // SAFETY: forwarded to the caller; every register that `enter` does not bring back is named here.
    unsafe {
        asm!(
            "call {enter}",
            enter = sym enter,
            in("rdi") per_cpu,
            in("rsi") registers,
            lateout("rax") exit,
            lateout("r12") _,
            lateout("r13") _,
            lateout("r14") _,
            lateout("r15") _,
            clobber_abi("sysv64"),
        );
    }
    exit
}

/// See [`run`] and [`call_enter`].
///
/// # Safety
/// As [`run`]; and the caller expects R12 to R15 to be lost.
#[unsafe(naked)]
unsafe extern "sysv64" fn enter(per_cpu: *mut PerCpu, registers: *mut UserRegisters) -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push rsi",
        // Two registers, the argument and the return address: RSP is 16-byte aligned, as RSP0 must be.
        "mov [rdi + {rsp0}], rsp",
        "mov rax, [rsi + {mode}]",
        "mov rcx, [rsi + {rip}]",
        "mov r11d, {flags}",
        "mov rdi, [rsi + {rdi}]",
        "mov rdx, [rsi + {rdx}]",
        "test eax, eax",
        "jnz 2f",
        // An upcall: the arguments, and nothing of the kernel's in any other register.
        "mov rsp, [rsi + {rsp}]",
        "mov rsi, [rsi + {rsi}]",
        "xor ebx, ebx",
        "xor ebp, ebp",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r12d, r12d",
        "xor r13d, r13d",
        "xor r14d, r14d",
        "xor r15d, r15d",
        "sysretq",
        "2:",
        "mov rbx, [rsi + {rbx}]",
        "mov rbp, [rsi + {rbp}]",
        "mov r8, [rsi + {r8}]",
        "mov r9, [rsi + {r9}]",
        "mov r10, [rsi + {r10}]",
        "mov r12, [rsi + {r12}]",
        "mov r13, [rsi + {r13}]",
        "mov r14, [rsi + {r14}]",
        "mov r15, [rsi + {r15}]",
        "cmp eax, {mode_resume}",
        "mov rax, [rsi + {rax}]",
        "je 3f",
        "mov rsp, [rsi + {rsp}]",
        "mov rsi, [rsi + {rsi}]",
        "sysretq",
        // After a fault, RCX, R11 and RFLAGS matter too: return by IRETQ, through a frame on this stack.
        "3:",
        "push {user_ss}",
        "push qword ptr [rsi + {rsp}]",
        "push qword ptr [rsi + {rflags}]",
        "push {user_cs}",
        "push rcx",
        "mov rcx, [rsi + {rcx}]",
        "mov r11, [rsi + {r11}]",
        "mov rsi, [rsi + {rsi}]",
        "iretq",
        rsp0 = const PerCpu::RSP0,
        mode = const offset_of!(UserRegisters, mode),
        rip = const offset_of!(UserRegisters, rip),
        rsp = const offset_of!(UserRegisters, rsp),
        rflags = const offset_of!(UserRegisters, rflags),
        rax = const offset_of!(UserRegisters, rax),
        rbx = const offset_of!(UserRegisters, rbx),
        rdx = const offset_of!(UserRegisters, rdx),
        rsi = const offset_of!(UserRegisters, rsi),
        rdi = const offset_of!(UserRegisters, rdi),
        rbp = const offset_of!(UserRegisters, rbp),
        r8 = const offset_of!(UserRegisters, r8),
        r9 = const offset_of!(UserRegisters, r9),
        r10 = const offset_of!(UserRegisters, r10),
        r12 = const offset_of!(UserRegisters, r12),
        r13 = const offset_of!(UserRegisters, r13),
        r14 = const offset_of!(UserRegisters, r14),
        r15 = const offset_of!(UserRegisters, r15),
        flags = const FLAGS,
        rcx = const offset_of!(UserRegisters, rcx),
        r11 = const offset_of!(UserRegisters, r11),
        mode_resume = const MODE_RESUME,
        user_cs = const USER_CS,
        user_ss = const USER_SS,
    )
}

/// Where `SYSCALL` arrives (LSTAR): RCX holds the extension's RIP, R11 its RFLAGS, all else is its own.
///
/// # Safety
/// Only the processor may call it.
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64" fn system_call_entry() {
    naked_asm!(
        "swapgs",
        "mov gs:[{user_rsp}], rsp",
        "mov rsp, gs:[{rsp0}]",
        "push rcx",
        "mov rcx, [rsp + 8]",
        "mov [rcx + {r11}], r11",
        "mov r11, gs:[{user_rsp}]",
        "swapgs",
        "mov [rcx + {rsp}], r11",
        "pop qword ptr [rcx + {rip}]",
        "mov [rcx + {rax}], rax",
        "mov [rcx + {rbx}], rbx",
        "mov [rcx + {rdx}], rdx",
        "mov [rcx + {rsi}], rsi",
        "mov [rcx + {rdi}], rdi",
        "mov [rcx + {rbp}], rbp",
        "mov [rcx + {r8}], r8",
        "mov [rcx + {r9}], r9",
        "mov [rcx + {r10}], r10",
        "mov [rcx + {r12}], r12",
        "mov [rcx + {r13}], r13",
        "mov [rcx + {r14}], r14",
        "mov [rcx + {r15}], r15",
        "xor eax, eax",
        "add rsp, 8",
        "pop rbp",
        "pop rbx",
        "ret",
        user_rsp = const PerCpu::USER_RSP,
        rsp0 = const PerCpu::RSP0,
        rip = const offset_of!(UserRegisters, rip),
        rsp = const offset_of!(UserRegisters, rsp),
        rax = const offset_of!(UserRegisters, rax),
        rbx = const offset_of!(UserRegisters, rbx),
        rdx = const offset_of!(UserRegisters, rdx),
        rsi = const offset_of!(UserRegisters, rsi),
        rdi = const offset_of!(UserRegisters, rdi),
        rbp = const offset_of!(UserRegisters, rbp),
        r8 = const offset_of!(UserRegisters, r8),
        r9 = const offset_of!(UserRegisters, r9),
        r10 = const offset_of!(UserRegisters, r10),
        r11 = const offset_of!(UserRegisters, r11),
        r12 = const offset_of!(UserRegisters, r12),
        r13 = const offset_of!(UserRegisters, r13),
        r14 = const offset_of!(UserRegisters, r14),
        r15 = const offset_of!(UserRegisters, r15),
    )
}

/// Where the exception stubs jump for a fault of ring 3, with the vector and the error code pushed
/// below the processor's frame.
///
/// # Safety
/// Only the exception stubs may jump here.
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64" fn user_fault() {
    naked_asm!(
        "push rcx",
        // RCX, vector, error code, RIP, CS, RFLAGS, RSP, SS; then what `enter` pushed.
        "mov rcx, [rsp + 64]",
        "mov [rcx + {rax}], rax",
        "pop rax",
        "mov [rcx + {rcx_}], rax",
        "pop rax",
        "mov [rcx + {vector}], rax",
        "pop rax",
        "mov [rcx + {error}], rax",
        "pop rax",
        "mov [rcx + {rip}], rax",
        "mov rax, [rsp + 8]",
        "mov [rcx + {rflags}], rax",
        "mov rax, [rsp + 16]",
        "mov [rcx + {rsp}], rax",
        "mov rax, cr2",
        "mov [rcx + {cr2}], rax",
        "mov [rcx + {rbx}], rbx",
        "mov [rcx + {rdx}], rdx",
        "mov [rcx + {rsi}], rsi",
        "mov [rcx + {rdi}], rdi",
        "mov [rcx + {rbp}], rbp",
        "mov [rcx + {r8}], r8",
        "mov [rcx + {r9}], r9",
        "mov [rcx + {r10}], r10",
        "mov [rcx + {r11}], r11",
        "mov [rcx + {r12}], r12",
        "mov [rcx + {r13}], r13",
        "mov [rcx + {r14}], r14",
        "mov [rcx + {r15}], r15",
        // CS, RFLAGS, RSP, SS and the argument of `enter`.
        "add rsp, 40",
        "pop rbp",
        "pop rbx",
        "mov eax, {exit_fault}",
        "cld",
        "ret",
        rax = const offset_of!(UserRegisters, rax),
        rcx_ = const offset_of!(UserRegisters, rcx),
        vector = const offset_of!(UserRegisters, vector),
        error = const offset_of!(UserRegisters, error),
        rip = const offset_of!(UserRegisters, rip),
        rflags = const offset_of!(UserRegisters, rflags),
        rsp = const offset_of!(UserRegisters, rsp),
        cr2 = const offset_of!(UserRegisters, cr2),
        rbx = const offset_of!(UserRegisters, rbx),
        rdx = const offset_of!(UserRegisters, rdx),
        rsi = const offset_of!(UserRegisters, rsi),
        rdi = const offset_of!(UserRegisters, rdi),
        rbp = const offset_of!(UserRegisters, rbp),
        r8 = const offset_of!(UserRegisters, r8),
        r9 = const offset_of!(UserRegisters, r9),
        r10 = const offset_of!(UserRegisters, r10),
        r11 = const offset_of!(UserRegisters, r11),
        r12 = const offset_of!(UserRegisters, r12),
        r13 = const offset_of!(UserRegisters, r13),
        r14 = const offset_of!(UserRegisters, r14),
        r15 = const offset_of!(UserRegisters, r15),
        exit_fault = const EXIT_FAULT,
    )
}
