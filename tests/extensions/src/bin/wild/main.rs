//! Runs a guest VM whose memory, instructions and registers are random, beside a root VM that must not suffer from it. Each PP
//! takes its turn: its timer ends the root VM's time, then the guest runs there until its slice is over or an interrupt of
//! the root VM's comes, and moves on. A guest that cannot go on is replaced by another one.

#![no_std]
#![no_main]

mod guest;

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod machine;

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::{Event, Exit, ExitClass, Extension, Failure, MAX_PPS, PerPp, Plinth, Pp, Resume};
use plinth_extension_api::{VsId, extension, log, passthrough, root};

use guest::Guest;

/// Nobody's turn any more: a call has failed.
const NOBODY: u64 = u64::MAX;
/// The parts of a second that the root VM and the guest have at a time.
const ROOT_TIMES: u64 = 250;
const SLICES: u64 = 500;
/// The root VM's time where an interrupt of its own has kept the guest from its first instruction, halved at random up to so
/// many times. SVM ends the root VM's time as an interrupt comes, or as its handler returns: the time is to be over in between.
const SHORT_TIMES: u64 = 500;
const HALVINGS: u64 = 6;
/// The counter's rate where the machine does not say.
const RATE: u64 = 1_000_000_000;

/// The PP on which the guest is.
static TURN: AtomicU64 = AtomicU64::new(0);

struct Wild {
    guest: Guest,
    /// The root VM's VS on each PP, once the guest has run there.
    roots: PerPp<Cell<Option<VsId>>>,
}

impl Extension for Wild {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        self.guest.make_home(plinth)
    }

    fn bootstrap(&self, pp: Pp) -> Result<Resume, Failure> {
        let resume = root::boot(pp)?;
        set_timer(pp.plinth(), ROOT_TIMES)?;
        Ok(resume)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let result = match self.roots.of(exit).get() {
            Some(root) if self.guest.is(exit.vs()) => self.guest_exit(exit, root),
            _ if exit.class() == ExitClass::Timer => self.take_turn(exit),
            _ => return passthrough::vmexit(exit),
        };
        result.unwrap_or_else(|failure| {
            log::error!("wild: FAILED: {failure}");
            TURN.store(NOBODY, Ordering::SeqCst);
            self.roots.of(exit).get().map_or(Resume::Run, Resume::RunVs)
        })
    }
}

impl Wild {
    /// The root VM's time on this PP is over: the guest runs, or moves to another PP.
    fn take_turn(&self, exit: &Exit<'_>) -> Result<Resume, Failure> {
        let (plinth, pp) = (exit.plinth(), exit.pp());
        if TURN.load(Ordering::SeqCst) != pp {
            set_timer(plinth, ROOT_TIMES)?;
            return Ok(Resume::Run);
        }
        let count = u64::from(root::launched());
        if let Some(next) = self.guest.wants_to_move(pp, count) {
            self.guest.move_to(plinth, next)?;
            TURN.store(next, Ordering::SeqCst);
            set_timer(plinth, ROOT_TIMES)?;
            return Ok(Resume::Run);
        }
        self.roots.of(exit).set(Some(exit.vs()));
        let vs = self.guest.take_up(plinth, pp)?;
        set_timer(plinth, SLICES)?;
        Ok(Resume::RunVs(vs))
    }

    fn guest_exit(&self, exit: &mut Exit<'_>, root: VsId) -> Result<Resume, Failure> {
        let plinth = exit.plinth();
        match exit.class() {
            ExitClass::Interrupt | ExitClass::Attention | ExitClass::Timer => {}
            ExitClass::Nmi => plinth.vs_inject(root, Event::NMI)?,
            _ => {
                if let Some(vs) = self.guest.answer(exit)? {
                    return Ok(Resume::RunVs(vs));
                }
            }
        }
        let part =
            if self.guest.has_run(exit) { ROOT_TIMES } else { SHORT_TIMES << self.guest.pick(HALVINGS) };
        set_timer(plinth, part)?;
        Ok(Resume::RunVs(root))
    }
}

/// This PP's active VS exits after such a part of a second.
fn set_timer(plinth: Plinth, part: u64) -> Result<(), Failure> {
    let (now, rate) = plinth.time()?;
    plinth.timer_set(Some(now + rate.unwrap_or(RATE) / part))
}

extension!(
    Wild = Wild { guest: Guest::new(), roots: PerPp::new([const { Cell::new(None) }; MAX_PPS]) },
    groups: [VM, VP, VS, MEMORY, TIME, PP]
);
