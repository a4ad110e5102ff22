//! Model-specific registers that the extension has asked to see.
//!
//! The kernel answers all other accesses of the root VM by its table, as the bare machine would; so an access that comes here
//! is one that the extension intercepts and does not handle. Such a register is not there: #GP.

use crate::event::Event;
use crate::exit::Exit;
use crate::resume::Resume;

/// Answers RDMSR.
pub fn read(_: &mut Exit<'_>) -> Resume {
    Resume::Inject(Event::GENERAL_PROTECTION)
}

/// Answers WRMSR.
pub fn write(_: &mut Exit<'_>) -> Resume {
    Resume::Inject(Event::GENERAL_PROTECTION)
}
