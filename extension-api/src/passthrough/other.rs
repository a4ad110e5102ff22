//! Exits that end badly on the bare machine too, or that nobody should see.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::event::Event;
use crate::exit::Exit;
use crate::resume::Resume;

/// A triple fault restarts the machine. The log keeps what the processor was at: nothing else will.
pub(super) fn shutdown(exit: &Exit<'_>) -> Resume {
    log::error!("pp {}: the root VM shut down (triple fault); restarting the machine", exit.pp());
    let _ = exit.plinth().debug_dump_vs(exit.vs());
    let failure = exit.plinth().intrinsic_reset();
    log::error!("pp {}: the machine does not restart: {failure}", exit.pp());
    Resume::GiveUp
}

/// An access to memory that is not there. The instruction is not decoded here, so it raises an exception; a bare Arm
/// machine does the same, a bare PC would read ones and write nothing. The first one is logged.
pub(super) fn memory(exit: &Exit<'_>) -> Resume {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if is_first(&LOGGED) {
        log::warn!(
            "pp {}: the root VM has no memory at {:#x} (access {:#x}, at {:#x}); it gets an exception, and more such accesses are not logged",
            exit.pp(),
            exit.number(),
            exit.detail(),
            exit.instruction_pointer()
        );
    }
    Resume::Inject(nothing_there(exit))
}

/// #GP.
#[cfg(target_arch = "x86_64")]
fn nothing_there(_: &Exit<'_>) -> Event {
    Event::REFUSED
}

/// A synchronous external abort (Arm ARM, ESR_EL1: classes 0x20 and 0x24, fault status 0x10, bit 6 for a write).
#[cfg(target_arch = "aarch64")]
fn nothing_there(exit: &Exit<'_>) -> Event {
    use crate::abi::MemoryAccess;
    let access = MemoryAccess::from_bits_truncate(exit.detail());
    if access.contains(MemoryAccess::EXECUTE) {
        return Event::exception_with_code(0x20, 0x10);
    }
    Event::exception_with_code(0x24, if access.contains(MemoryAccess::WRITE) { 0x50 } else { 0x10 })
}

/// Nobody waits for the step any more: the VS goes on at full speed.
pub(super) fn step(exit: &Exit<'_>) -> Resume {
    match exit.plinth().vs_step(exit.vs(), false) {
        Ok(()) => Resume::Run,
        Err(_) => Resume::GiveUp,
    }
}

/// An access to the interrupt controller in a way that the kernel does not understand. The first one is logged.
pub(super) fn processor(exit: &Exit<'_>) -> Resume {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if is_first(&LOGGED) {
        log::warn!(
            "pp {}: the root VM uses its interrupt controller by an unusual instruction at {:#x}; it gets an exception, and more such accesses are not logged",
            exit.pp(),
            exit.instruction_pointer()
        );
    }
    Resume::Inject(Event::REFUSED)
}

/// An exit that nothing here asked for or understands: its data and the VS's registers go to the log.
pub(super) fn unknown(exit: &Exit<'_>) -> Resume {
    let [first, second] = exit.info();
    log::error!(
        "pp {}: unexpected exit ({}): code {:#x} info {first:#x} {second:#x} number {:#x} detail {:#x} at {:#x}",
        exit.pp(),
        exit.class().name(),
        exit.code(),
        exit.number(),
        exit.detail(),
        exit.instruction_pointer()
    );
    if let Err(failure) = exit.plinth().debug_dump_vs(exit.vs()) {
        log::error!("pp {}: its registers cannot be shown: {failure}", exit.pp());
    }
    Resume::GiveUp
}

fn is_first(logged: &AtomicBool) -> bool {
    !logged.swap(true, Ordering::Relaxed)
}
