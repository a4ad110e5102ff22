//! Sets its timer again and again on every processor, a thousand times a second, and logs what came of it now and then.

#![no_std]
#![no_main]

use core::cell::Cell;

use plinth_extension_api::{Exit, ExitClass, Extension, Failure, MAX_PPS, PerPp, Plinth, Pp, Resume};
use plinth_extension_api::{extension, log, passthrough, root};

/// After how many ticks there is a line.
const LINE: u64 = 1000;
/// The counter's rate where the machine does not say.
const RATE: u64 = 1_000_000_000;

struct Ticks(PerPp<Cell<u64>>);

impl Extension for Ticks {
    fn bootstrap(&self, pp: Pp) -> Result<Resume, Failure> {
        let resume = root::boot(pp)?;
        set(pp.plinth())?;
        Ok(resume)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        if exit.class() != ExitClass::Timer {
            return passthrough::vmexit(exit);
        }
        let count = self.0.of(exit);
        count.update(|count| count + 1);
        if count.get().is_multiple_of(LINE) {
            log::info!("ticks: pp {}: {} of them", exit.pp(), count.get());
        }
        set(exit.plinth()).map_or(Resume::GiveUp, |()| Resume::Run)
    }
}

fn set(plinth: Plinth) -> Result<(), Failure> {
    let (now, rate) = plinth.time()?;
    plinth.timer_set(Some(now + rate.unwrap_or(RATE) / 1000))
}

extension!(Ticks = Ticks(PerPp::new([const { Cell::new(0) }; MAX_PPS])));
