//! Calling the firmware by SMC.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::psci::calls;

static IS_PRESENT: AtomicBool = AtomicBool::new(false);

/// Whether SMC reaches firmware that understands PSCI.
pub(crate) fn is_present() -> bool {
    IS_PRESENT.load(Ordering::Relaxed)
}

/// Records whether there is such firmware. The boot CPU calls it during the launch.
pub(crate) fn note(is_present: bool) {
    IS_PRESENT.store(is_present, Ordering::Relaxed);
}

/// The results of a call: X0 to X3.
pub(crate) type Answer = [u64; 4];

/// Makes an SMCCC call.
///
/// # Safety
/// The machine has firmware that takes SMC, and the call's effect is wanted.
pub(crate) unsafe fn call(arguments: [u64; 4]) -> Answer {
    let [mut x0, mut x1, mut x2, mut x3] = arguments;
    // SAFETY: the caller vouches for the call; by SMCCC 1.0 X4 to X17 may change, and the rest is kept.
    unsafe {
        asm!(
            "smc #0",
            inout("x0") x0, inout("x1") x1, inout("x2") x2, inout("x3") x3,
            out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _,
            out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
            options(nostack)
        );
    }
    [x0, x1, x2, x3]
}

/// Restarts the machine.
pub(crate) fn reset() {
    // SAFETY: the machine ends here.
    unsafe { call([u64::from(calls::SYSTEM_RESET), 0, 0, 0]) };
}
