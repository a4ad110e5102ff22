//! Sets its PP's timer at the test hypercall, so many ticks ahead as the guest says. When the VS exits for that, it finds
//! the time in a register: a guest that looks at nothing but its registers sees it.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, ExitClass, Extension, Failure, Resume, extension, log, passthrough};
use plinth_test_extensions::{TIMED_REGISTER, argument, is_test};

struct Timed;

impl Extension for Timed {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        if exit.class() == ExitClass::Timer {
            let now = exit.plinth().time().map_or(0, |(ticks, _)| ticks);
            log::info!("timed: pp {}: a run ended at {:#x}", exit.pp(), exit.instruction_pointer());
            exit.set_general(TIMED_REGISTER, now);
            return Resume::Run;
        }
        if !is_test(exit) {
            return passthrough::vmexit(exit);
        }
        let done = set(exit, argument(exit));
        exit.answer_hypercall(u64::from(done.is_err()))
    }
}

fn set(exit: &Exit<'_>, ahead: u64) -> Result<(), Failure> {
    let (now, _) = exit.plinth().time()?;
    exit.plinth().timer_set(Some(now.saturating_add(ahead)))
}

extension!(Timed);
