//! What every image for ARMv8 is made of: entry point, log, panic handler.

use core::arch::naked_asm;
use core::mem::offset_of;
use core::panic::PanicInfo;

use plinth_arch_armv8::console::MmioUart;
use plinth_arch_armv8::{CallerFrame, El2, EntryFrame, Frame, counter, own_hardware_id};
use plinth_image::start_log;
use plinth_kernel::logger::{Console, Origin};
use plinth_kernel::{Kernel, last_words};
use plinth_launch::{
    CONSOLE_NONE, LaunchError, LaunchInfo, LaunchStatus, ORIGIN_EL1, ORIGIN_PRIVILEGED, VERSION,
};

static EL2: Kernel<El2> = Kernel::new();
static CONSOLE: MmioUart = MmioUart::new();

/// The entry point of the launch contract.
///
/// A caller at EL2 has its registers that a call preserves left on its stack: launching makes them the root VM's, which "returns"
/// from here with 0, at EL1. An OS at EL1, whose call leaves EL2's MMU off, has no stack here: the backend saves what EL2 holds.
///
/// # Safety
/// Only a loader may call it, as `plinth_launch` says.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start(info: *const LaunchInfo, pp: u64) -> u64 {
    naked_asm!(
        "msr daifset, #15",
        "mrs x9, CurrentEL",
        "cmp x9, #2 << 2",
        "b.ne 1f",
        "mrs x9, sctlr_el2",
        "tbnz x9, #0, 1f",
        "ldr w9, [x0, #{version_at}]",
        "cmp w9, #{version}",
        "b.ne 1f",
        "ldr x9, [x0, #{origin_at}]",
        "cmp x9, #{el1}",
        "b.ne 1f",
        "adrp x2, {enter_from_el1}",
        "add x2, x2, :lo12:{enter_from_el1}",
        "b {from_el1}",
        "1:",
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
        version_at = const offset_of!(LaunchInfo, version),
        version = const VERSION,
        origin_at = const offset_of!(LaunchInfo, origin),
        el1 = const ORIGIN_EL1,
        enter_from_el1 = sym enter_from_el1,
        from_el1 = sym plinth_arch_armv8::from_el1,
        enter = sym enter,
    )
}

/// Launches for a caller at EL2. Returns only what was refused.
extern "C" fn enter(info: *const LaunchInfo, pp: u64, frame: &EntryFrame) -> u64 {
    // SAFETY: the loader passes a structure that outlives the launch; the mode is what it vouches for, and `_start` has left
    // the frame.
    unsafe { launch(&*info, pp, Frame::El2(frame)) }.raw()
}

/// The same for an OS at EL1.
extern "C" fn enter_from_el1(info: *const LaunchInfo, pp: u64, frame: &CallerFrame) -> ! {
    // SAFETY: as in `enter`; the way in has left the frame, and what is refused there has changed nothing else.
    unsafe {
        let refused = launch(&*info, pp, Frame::El1(frame));
        plinth_arch_armv8::go_back(frame, refused)
    }
}

/// Checks the contract and launches.
///
/// # Safety
/// As [`plinth_arch_armv8::launch`], but for what is checked here.
unsafe fn launch(info: &LaunchInfo, pp: u64, frame: Frame<'_>) -> LaunchStatus {
    let origin = match frame {
        Frame::El2(_) => ORIGIN_PRIVILEGED,
        Frame::El1(_) => ORIGIN_EL1,
    };
    if !info.is_current() || info.origin != origin {
        return LaunchStatus::failed(LaunchError::BadContract, 0);
    }
    if pp == 0 {
        // SAFETY: the loader says that the log's memory is the OS's to lose. It is identity mapped, as all memory is by the kernel's
        // own tables later.
        unsafe { start_log(info, console(info), &Here) };
    }
    // SAFETY: the contract has been checked; the rest is forwarded to the caller.
    unsafe { plinth_arch_armv8::launch(&EL2, info, pp, frame) }
}

/// The console, if the loader says that there is one.
fn console(info: &LaunchInfo) -> Option<&'static dyn Console> {
    // SAFETY: the loader says that the UART is there and mapped.
    let has_uart =
        info.console_kind != CONSOLE_NONE && unsafe { CONSOLE.set(info.console_kind, info.console_base) };
    has_uart.then_some(&CONSOLE as &dyn Console)
}

/// The processor that runs this.
struct Here;

impl Origin for Here {
    fn counter(&self) -> u64 {
        counter()
    }

    fn pp(&self) -> Option<usize> {
        EL2.pp_of(own_hardware_id())
    }
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
