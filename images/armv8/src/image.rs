//! What every image for ARMv8 is made of: entry point, log, panic handler.

use core::arch::naked_asm;
use core::panic::PanicInfo;

use plinth_arch_armv8::console::MmioUart;
use plinth_arch_armv8::{El2, EntryFrame, own_hardware_id};
use plinth_kernel::logger::{Console, LOGGER};
use plinth_kernel::{Kernel, last_words};
use plinth_launch::{CONSOLE_NONE, LaunchError, LaunchInfo, LaunchStatus, ORIGIN_PRIVILEGED};

static EL2: Kernel<El2> = Kernel::new();
static CONSOLE: MmioUart = MmioUart::new();

/// The entry point of the launch contract.
///
/// Leaves the registers that a call preserves on the caller's stack: launching makes them the root VM's, which
/// "returns" from here with 0, at EL1.
///
/// # Safety
/// Only a loader may call it, as `plinth_launch` says.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start(info: *const LaunchInfo, pp: u64) -> u64 {
    naked_asm!(
        "msr daifset, #15",
        "stp x29, x30, [sp, #-96]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "mov x2, sp",
        "bl {enter}",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp x29, x30, [sp], #96",
        "ret",
        enter = sym enter,
    )
}

/// Checks the contract and launches. Returns only what was refused.
extern "C" fn enter(info: *const LaunchInfo, pp: u64, frame: &EntryFrame) -> u64 {
    // SAFETY: the loader passes a structure that outlives the launch.
    let info = unsafe { &*info };
    if !info.is_current() || info.origin != ORIGIN_PRIVILEGED {
        return LaunchStatus::failed(LaunchError::BadContract, 0).raw();
    }
    if pp == 0 {
        start_log(info);
    }
    // SAFETY: the contract has been checked; the mode is what the loader vouches for, and `_start` has left the frame.
    unsafe { plinth_arch_armv8::launch(&EL2, info, pp, frame) }.raw()
}

fn start_log(info: &LaunchInfo) {
    // SAFETY: the loader says that the UART is there and mapped.
    let has_uart =
        info.console_kind != CONSOLE_NONE && unsafe { CONSOLE.set(info.console_kind, info.console_base) };
    LOGGER.begin(info, has_uart.then_some(&CONSOLE as &dyn Console));
}

/// A bug in the kernel: says so. The processor stops; the others go on, and do not wait for it.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    last_words(info, EL2.lose_pp(own_hardware_id()));
    loop {
        // BOUND: none. Nobody waits for a processor on which the kernel has failed: see `lose_pp`.
        // SAFETY: sleeps; nothing else is left to do on this processor.
        unsafe { core::arch::asm!("wfi", options(nomem, nostack, preserves_flags)) };
    }
}
