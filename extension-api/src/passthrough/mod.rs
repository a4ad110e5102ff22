//! The answers of the bare machine, so that an extension need handle only what it cares about.
//!
//! The root VM finds the machine it was running on, with two differences: the virtualization extension is
//! missing (CPUID does not show it, its instructions and registers do not exist), and CPUID says that a hypervisor
//! is present, with Plinth's signature.
//!
//! [`vmexit`] is all that most extensions call; the parts are public for those that change one of them.

pub mod cpuid;
pub mod hypercall;
pub mod msr;
mod other;

use crate::abi::ExitClass;
use crate::event::Event;
use crate::exit::Exit;
use crate::resume::Resume;

/// Answers any exit of the root VM.
#[inline]
pub fn vmexit(exit: &mut Exit<'_>) -> Resume {
    match exit.class() {
        ExitClass::IdRead => cpuid::answer(exit),
        _ => seldom(exit.reborrow()),
    }
}

/// The classes that are no part of a hot path.
#[cold]
#[inline(never)]
fn seldom(mut exit: Exit<'_>) -> Resume {
    let exit = &mut exit;
    match exit.class() {
        ExitClass::RegisterRead => msr::read(exit),
        ExitClass::RegisterWrite => msr::write(exit),
        ExitClass::Hypercall => hypercall::answer(exit),
        ExitClass::Virtualization => Resume::Inject(Event::UNDEFINED),
        ExitClass::Nmi => Resume::Inject(Event::NMI),
        ExitClass::Shutdown => other::shutdown(exit),
        ExitClass::Memory => other::memory(exit),
        ExitClass::Processor => other::processor(exit),
        _ => other::unknown(exit),
    }
}
