//! System registers that exit: ID registers, which show the machine's own values, and those that are not there.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::abi::register;
use crate::event::Event;
use crate::exit::{Exit, IdValue};
use crate::resume::Resume;

/// Answers a read of an ID register.
#[inline]
pub fn id_read(exit: &mut Exit<'_>) -> Resume {
    let value = id_value(exit);
    exit.answer_id(value)
}

/// The machine's own value of the ID register that is read. It comes with the exit, because EL0 cannot read it.
#[inline]
pub fn id_value(exit: &Exit<'_>) -> IdValue {
    let [_, native] = exit.info();
    native
}

/// Answers MRS of a register that is trapped: as on a machine that lacks it. The first one is logged.
pub fn register_read(exit: &mut Exit<'_>) -> Resume {
    undefined(exit)
}

/// Answers MSR to a register that is trapped: one of the guest's own takes the value, any other is as on a machine that
/// lacks it. The first of those is logged.
pub fn register_write(exit: &mut Exit<'_>) -> Resume {
    let register = register::ARM_SYSTEM + exit.number();
    match exit.plinth().vs_write(exit.vs(), register, exit.written_register()) {
        Ok(()) => Resume::AdvanceAndRun,
        Err(_) => undefined(exit),
    }
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
