//! Ring 3: entering the extension, and the ways back by system call and by exception.
//!
//! [`entry::enter`] looks like a function that returns when the extension stops. It leaves the kernel's RBX and RBP and
//! the address of the [`UserRegisters`] on the stack, and the stack pointer in the [`PerCpu`], so that both ways back
//! find everything from there alone. R12 to R15 are lost: the compiler, which keeps next to nothing in them
//! across the extension's turn, is told so ([`call_enter`]).
//!
//! * an exception switches to a small stack by itself, and moves on from there;
//! * a system call switches nothing.
//!
//! Both find the stack pointer, and the kernel's tables where the extension has tables of its own, through GS, which `SWAPGS`
//! makes the kernel's for a few instructions. The extension can't change the base that SWAPGS brings in.
//!
//! The kernel runs with interrupts off; the extension with those on that [`PerCpu::let_interrupts_in`] lets in, which stop it
//! as a fault does. NMIs may come in anywhere here, on AMD too, since the extension runs with GIF set:
//! their handler has a stack of its own and needs nothing of what is in the making here.

mod entry;

use core::arch::asm;

use plinth_hal::{UserContext, UserExit, UserFault, UserVa};

pub(crate) use self::entry::from_ring_3;
use crate::kpti::KptiRoots;
use crate::per_cpu::PerCpu;
use crate::{exceptions, nmi};

/// Enters by SYSRET, all registers but the arguments zero.
const MODE_UPCALL: u64 = 0;
/// Enters by SYSRET, as the return from a system call.
const MODE_RETURN: u64 = 1;
/// Enters by IRETQ with every register as it was: after a fault, or an NMI.
const MODE_RESUME: u64 = 2;

/// RFLAGS: interrupts are let in, and the trap flag.
const INTERRUPT_FLAG: u64 = 1 << 9;
const TRAP_FLAG: u64 = 1 << 8;

/// Vectors that end so are no exceptions'; among them is the local APIC's spurious one.
const NEVER: u64 = 0xF;

/// End of the extension's half of the address space. Beyond it SYSRET faults on Intel, and in the kernel at that.
const USER_END: u64 = 1 << 47;

/// What [`entry::enter`] answers for a system call.
const EXIT_CALL: u64 = 0;
/// What [`entry::enter`] answers for a fault.
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
    /// The extension wants to go on where no code can be: that is its fault.
    #[cold]
    fn beyond_the_end(&mut self) {
        const GENERAL_PROTECTION: u64 = 13;
        (self.vector, self.error) = (GENERAL_PROTECTION, 0);
    }

    /// By what it was stopped, other than a call. [`UserExit::Clock`] is for
    /// [`Interrupts::taken`](crate::interrupts::Interrupts::taken) to explain. After an NMI, NMIs are blocked until
    /// [`nmi::unblock`].
    pub fn stopped(&mut self) -> UserExit {
        self.mode = MODE_RESUME;
        match self.vector {
            nmi::VECTOR => UserExit::Kick,
            _ if self.may_be_interrupt() => UserExit::Clock,
            _ => UserExit::Fault(self.fault()),
        }
    }

    /// The vector by which it was stopped, whatever it was.
    pub(crate) fn vector(&self) -> u8 {
        self.vector as u8
    }

    /// Whether the vector can be an exception's as well as an interrupt's. Where the processor pushes an error code with the
    /// exception, the stubs have told the two apart.
    pub(crate) fn may_be_exception(&self) -> bool {
        self.vector < exceptions::COUNT as u64 && self.vector & NEVER != NEVER
    }

    /// Whether an interrupt may have stopped it.
    fn may_be_interrupt(&self) -> bool {
        let let_in = self.rflags & INTERRUPT_FLAG != 0;
        let with_code = self.may_be_exception() && exceptions::WITH_ERROR_CODE >> self.vector & 1 != 0;
        let_in && !with_code
    }

    /// Whether it traces itself.
    pub(crate) fn is_traced(&self) -> bool {
        self.rflags & TRAP_FLAG != 0
    }

    /// It goes on without interrupts.
    pub(crate) fn shut_out_interrupts(&mut self) {
        self.rflags &= !INTERRUPT_FLAG;
    }

    /// What the last [`entry::enter`] ended with.
    pub(crate) fn fault(&self) -> UserFault {
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

/// Runs the extension until it makes a system call, or something else stops it: returns whether it was a call; else
/// [`UserRegisters::stopped`] tells.
///
/// # Safety
/// 1. `per_cpu` is this processor's, loaded (GDT, IDT, TSS, the system-call MSRs and GS bases).
/// 2. The host page table in CR3, or where [`KptiRoots`] name another one that, maps the extension and lets ring 3 reach nothing
///    else.
#[inline]
pub unsafe fn run(per_cpu: *mut PerCpu, registers: &mut UserRegisters) -> bool {
    if registers.rip >= USER_END {
        registers.beyond_the_end();
        return false;
    }
    // SAFETY: forwarded to the caller; `registers` is exclusively ours while the extension runs.
    unsafe { call_enter(per_cpu, registers) == EXIT_CALL }
}

/// Calls [`entry::enter`], which returns by another way than it came and brings back RBX, RBP and RSP alone.
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
            enter = sym entry::enter,
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

/// Where `SYSCALL` arrives (LSTAR).
pub(crate) fn system_call_entry(tables: KptiRoots) -> u64 {
    if tables.are_separate() {
        return entry::system_call_separate as *const () as u64;
    }
    entry::system_call as *const () as u64
}
