//! Sets its PP's timer at the test hypercall, so many ticks ahead as the guest says. When the VS exits for that, it finds
//! the time in a register: a guest that looks at nothing but its registers sees it. How late that was it tells on demand.

#![no_std]
#![no_main]

use core::cell::Cell;

use plinth_extension_api::{
    Exit, ExitClass, Extension, Failure, MAX_PPS, PerPp, Resume, extension, log, passthrough,
};
use plinth_test_extensions::{NOT_ENDED, TIMED_LATENESS, TIMED_REGISTER, argument, is_test};

/// On each PP: when the timer is to end a run, and how late it did.
struct Timed(PerPp<Cell<(u64, u64)>>);

impl Extension for Timed {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        if exit.class() == ExitClass::Timer {
            let now = exit.plinth().time().map_or(0, |(ticks, _)| ticks);
            log::info!("timed: pp {}: a run ended at {:#x}", exit.pp(), exit.instruction_pointer());
            exit.set_general(TIMED_REGISTER, now);
            self.0.of(exit).update(|(at, _)| (at, now.saturating_sub(at)));
            return Resume::Run;
        }
        if !is_test(exit) {
            return passthrough::vmexit(exit);
        }
        let result = match argument(exit) {
            TIMED_LATENESS => self.0.of(exit).get().1,
            ahead => u64::from(self.set(exit, ahead).is_err()),
        };
        exit.answer_hypercall(result)
    }
}

impl Timed {
    fn set(&self, exit: &Exit<'_>, ahead: u64) -> Result<(), Failure> {
        let at = exit.plinth().time()?.0.saturating_add(ahead);
        self.0.of(exit).set((at, NOT_ENDED));
        exit.plinth().timer_set(Some(at))
    }
}

extension!(Timed = Timed(PerPp::new([const { Cell::new((0, NOT_ENDED)) }; MAX_PPS])));
