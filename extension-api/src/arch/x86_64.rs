//! x86-64: `syscall` with the number in RAX and REG0 to REG5 in RDI, RSI, RDX, R10, R8, R9.
//!
//! The status comes back in RAX, the outputs in RDI and RSI; the instruction itself spends RCX and R11
//! (AMD64 APM vol. 3, SYSCALL).

use core::arch::asm;

use super::Outcome;
use crate::abi::Status;

/// First and number of the ID registers that exit only if asked: none, because CPUID always does.
pub const ID_REGISTERS: Option<(u64, u64)> = None;

/// Makes a system call with six arguments.
///
/// # Safety
/// The call must not take memory away that Rust still uses, nor go on elsewhere while a destructor of the
/// caller matters.
#[inline]
pub unsafe fn call(number: u64, arguments: [u64; 6]) -> Outcome {
    let [reg0, reg1, reg2, reg3, reg4, reg5] = arguments;
    let (status, first, second);
    // SAFETY: The kernel keeps every register but those named here, uses no stack of the caller's, and touches only
    // the memory that the caller answers for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => status,
            inlateout("rdi") reg0 => first,
            inlateout("rsi") reg1 => second,
            in("rdx") reg2,
            in("r10") reg3,
            in("r8") reg4,
            in("r9") reg5,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    Outcome { status: Status::from_raw(status), outputs: [first, second] }
}

/// Makes a system call of which REG0 is the only argument: the short way back into a VS.
///
/// # Safety
/// As [`call`].
#[inline(always)]
pub unsafe fn call_short(number: u64, reg0: u64) -> Status {
    let status;
    // SAFETY: As in `call`.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => status,
            inlateout("rdi") reg0 => _,
            lateout("rsi") _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    Status::from_raw(status)
}

/// Defines an entry that the kernel jumps to, with an empty, aligned stack: a call makes it what the target, an
/// `extern "C"` function that never returns, expects (System V ABI, 3.2.2).
#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    ($(#[$attribute:meta])* $name:ident => $target:path) => {
        $(#[$attribute])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name() -> ! {
            ::core::arch::naked_asm!("call {}", "ud2", sym $target)
        }
    };
}
