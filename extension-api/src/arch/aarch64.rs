//! AArch64: `svc #0` with the number in X8 and REG0 to REG5 in X0 to X5.
//!
//! The status comes back in X8, the outputs in X0 and X1; every other register is kept.

use core::arch::asm;

use super::Outcome;
use crate::abi::Status;

/// First and number of the ID registers that exit only if asked: Op0 3, Op1 0, CRn 0, CRm 1 to 7 (Arm ARM, HCR_EL2.TID3).
pub const ID_REGISTERS: Option<(u64, u64)> = Some((3 << 14 | 1 << 3, 7 * 8));

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
            "svc #0",
            inlateout("x8") number => status,
            inlateout("x0") reg0 => first,
            inlateout("x1") reg1 => second,
            in("x2") reg2,
            in("x3") reg3,
            in("x4") reg4,
            in("x5") reg5,
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
            "svc #0",
            inlateout("x8") number => status,
            inlateout("x0") reg0 => _,
            lateout("x1") _,
            options(nostack)
        );
    }
    Status::from_raw(status)
}

/// Defines an entry that the kernel jumps to, with an empty, aligned stack: here that is all that the
/// target, an `extern "C"` function that never returns, expects (AAPCS64, 6.4.5).
#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    ($(#[$attribute:meta])* $name:ident => $target:path) => {
        $(#[$attribute])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name() -> ! {
            ::core::arch::naked_asm!("b {}", sym $target)
        }
    };
}
