//! System registers that exit: ID registers, which show the machine's own values, and those that are not there.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::event::Event;
use crate::exit::Exit;
use crate::resume::Resume;

/// The number of XZR, which takes no value.
const ZERO_REGISTER: u64 = 31;

/// Answers a read of an ID register. Its value comes with the exit, because EL0 cannot read it.
#[inline]
pub fn id_read(exit: &mut Exit<'_>) -> Resume {
    let [_, native] = exit.info();
    set_target(exit, native);
    Resume::AdvanceAndRun
}

/// Gives the register that the instruction names a value.
#[inline]
pub fn set_target(exit: &mut Exit<'_>, value: u64) {
    let target = exit.detail();
    if target < ZERO_REGISTER {
        exit.set_general(target as usize, value);
    }
}

/// Answers MRS of a register that is trapped: as on a machine that lacks it. The first one is logged.
pub fn register_read(exit: &mut Exit<'_>) -> Resume {
    undefined(exit)
}

/// Answers MSR to a register that is trapped: as on a machine that lacks it. The first one is logged.
pub fn register_write(exit: &mut Exit<'_>) -> Resume {
    undefined(exit)
}

fn undefined(exit: &Exit<'_>) -> Resume {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if !LOGGED.swap(true, Ordering::Relaxed) {
        log::warn!(
            "pp {}: {} of system register {:#x} at {:#x}; it is undefined, and more such accesses are not logged",
            exit.pp(),
            exit.class().name(),
            exit.number(),
            exit.instruction_pointer()
        );
    }
    Resume::Inject(Event::UNDEFINED)
}
