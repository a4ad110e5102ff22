//! The answers of the bare machine, so that an extension need handle only what it cares about.
//!
//! The root VM finds the machine it was running on, with two differences: the virtualization extension is
//! missing (CPUID does not show it, its instructions and registers do not exist), and CPUID says that a hypervisor
//! is present, with Plinth's signature.
//!
//! [`vmexit`] is all that most extensions call; the parts are public for those that change one of them.

#[cfg(target_arch = "x86_64")]
pub mod cpuid;
pub mod hypercall;
#[cfg(target_arch = "x86_64")]
pub mod msr;
mod other;
#[cfg(target_arch = "aarch64")]
pub mod system;

use crate::abi::ExitClass;
use crate::event::Event;
use crate::exit::Exit;
use crate::resume::Resume;

#[cfg(target_arch = "x86_64")]
pub use cpuid::id_value;
#[cfg(target_arch = "aarch64")]
pub use system::id_value;

#[cfg(target_arch = "x86_64")]
use cpuid::answer as id_read;
#[cfg(target_arch = "x86_64")]
use msr::{read as register_read, write as register_write};
#[cfg(target_arch = "aarch64")]
use system::{id_read, register_read, register_write};

/// Answers any exit of the root VM.
#[inline]
pub fn vmexit(exit: &mut Exit<'_>) -> Resume {
    match exit.class() {
        ExitClass::IdRead => id_read(exit),
        _ => seldom(exit.reborrow()),
    }
}

/// The classes that are no part of a hot path.
#[cold]
#[inline(never)]
fn seldom(mut exit: Exit<'_>) -> Resume {
    let exit = &mut exit;
    match exit.class() {
        ExitClass::RegisterRead => register_read(exit),
        ExitClass::RegisterWrite => register_write(exit),
        ExitClass::Hypercall => hypercall::answer(exit),
        ExitClass::Virtualization => Resume::Inject(Event::UNDEFINED),
        ExitClass::Nmi => Resume::Inject(Event::NMI),
        ExitClass::Shutdown => other::shutdown(exit),
        ExitClass::Memory => other::memory(exit),
        ExitClass::Step => other::step(exit),
        ExitClass::Attention | ExitClass::Timer => Resume::Run,
        ExitClass::Processor => other::processor(exit),
        _ => other::unknown(exit),
    }
}
