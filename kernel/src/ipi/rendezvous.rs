//! Where PPs meet before they leave the hypervisor: each of them comes, and either all leave or none does.
//!
//! One PP begins a meeting and asks the others to come. While the phase is [`Phase::Asked`] any PP can cancel it, and all run
//! their guests on. [`Phase::Met`] is the point of no return: the PP that asked destroys the nested tables and all secrets,
//! so that no PP can enter a guest again; it waits for [`Phase::Over`], after which all leave, or stops for good where the
//! kernel has failed on the PP that asked. The phase, the meeting's number and the PP that asked are one word, so that each
//! step is one compare-and-swap: a PP that is late finds another number and changes nothing.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ipi::wait::{Clock, Deadline};
use crate::limits::MAX_PPS;

/// How many times as long as a PP has to come, one that is there waits for the others and for the secrets' end.
pub(crate) const PATIENCE: u64 = 4;

/// The bits of a meeting's number that name the PP that asked.
const PP_BITS: u32 = (MAX_PPS - 1).count_ones();

/// How far a meeting is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// There is none.
    None,
    /// PPs are asked to come.
    Asked,
    /// All are there: nobody goes back.
    Met,
    /// Nothing is secret any more: they leave.
    Over,
}

/// How a meeting ends for a PP that has come to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// All PPs leave.
    Leave,
    /// The meeting was cancelled before all PPs had come: the PP runs its guest on.
    GoOn,
    /// The kernel has failed on the PP that asked, after all had come: the nested tables and the secrets are half destroyed.
    Failed,
}

/// Where PPs meet. Each meeting has a number, so that no PP takes the next meeting for the one that it came to.
pub(crate) struct Rendezvous {
    /// The number of the meeting in bits 63:2, its [`Phase`] below. The low [`PP_BITS`] of the number name the PP that asked.
    state: AtomicU64,
    /// The PPs that are there.
    here: AtomicU64,
}

impl Rendezvous {
    pub(crate) const fn new() -> Self {
        Self { state: AtomicU64::new(0), here: AtomicU64::new(0) }
    }

    pub(crate) fn state(&self) -> (u64, Phase) {
        let state = self.state.load(Ordering::SeqCst);
        let phase = [Phase::None, Phase::Asked, Phase::Met, Phase::Over][(state & 3) as usize];
        (state >> 2, phase)
    }

    /// The next phase of a meeting, if it is in the one before. Returns whether it was.
    pub(crate) fn go_on(&self, number: u64, from: Phase, to: Phase) -> bool {
        let (from, to) = (number << 2 | from as u64, number << 2 | to as u64);
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Begins a meeting that PP `asker` asks for, unless there is one. Returns its number.
    pub(crate) fn begin(&self, asker: usize) -> Option<u64> {
        let (last, phase) = self.state();
        let count = (last >> PP_BITS).wrapping_add(1);
        let number = (count << PP_BITS | asker as u64) & (u64::MAX >> 2);
        if phase != Phase::None {
            return None;
        }
        let (from, to) = (last << 2, number << 2 | Phase::Asked as u64);
        self.here.store(0, Ordering::SeqCst);
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).ok().map(|_| number)
    }

    /// The meeting that PPs are asked to.
    pub(crate) fn asked(&self) -> Option<u64> {
        let (number, phase) = self.state();
        (phase == Phase::Asked).then_some(number)
    }

    /// The PP that asked for a meeting.
    pub(crate) const fn asker(number: u64) -> usize {
        number as usize & ((1 << PP_BITS) - 1)
    }

    /// Waits for the end of a meeting on a PP that has come, `limit` ticks until all have. After [`Phase::Met`] no PP may run
    /// a guest again, since the PP that asked destroys the nested tables. So from there on the wait has no deadline: `overdue` is
    /// called once when the time is up, and the wait goes on until the secrets are destroyed or `asker_failed`.
    pub(crate) fn wait_for_end(
        &self,
        number: u64,
        clock: &impl Clock,
        limit: u64,
        asker_failed: impl Fn() -> bool,
        overdue: impl FnOnce(),
    ) -> Outcome {
        let is = |phase| self.state() == (number, phase);
        if !Deadline::after(clock, limit).wait(|| !is(Phase::Asked)) {
            // The PP that asked does not come back to the meeting.
            self.go_on(number, Phase::Asked, Phase::None);
        }
        let ends = || !is(Phase::Met) || asker_failed();
        if !Deadline::after(clock, limit.saturating_mul(PATIENCE)).wait(ends) {
            overdue();
        }
        // BOUND: the work of the PP that asked, which waits for nothing but locks that are given up in the end; or its failure.
        while !ends() {
            clock.relax();
        }
        match self.state() {
            (current, Phase::Over) if current == number => Outcome::Leave,
            (current, Phase::Met) if current == number => Outcome::Failed,
            _ => Outcome::GoOn,
        }
    }

    pub(crate) fn come(&self, pp: usize) {
        self.here.fetch_or(bit(pp), Ordering::SeqCst);
    }

    pub(crate) fn are_here(&self, pps: u64) -> bool {
        self.here.load(Ordering::SeqCst) & pps == pps
    }

    /// Whether all have left: there is no hypervisor any more.
    pub(crate) fn is_over(&self) -> bool {
        self.state().1 == Phase::Over
    }
}

/// A PP's bit in a set of them: there are as many PPs at most as bits.
pub(crate) const fn bit(pp: usize) -> u64 {
    const { assert!(MAX_PPS <= u64::BITS as usize) };
    1_u64.wrapping_shl(pp as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meeting_has_a_number_and_one_outcome() {
        let rendezvous = Rendezvous::new();
        let first = rendezvous.begin(2).unwrap();
        assert_eq!((rendezvous.begin(2), rendezvous.asked()), (None, Some(first)));
        rendezvous.come(3);
        assert!(rendezvous.are_here(1 << 3) && !rendezvous.are_here(1 << 2 | 1 << 3));
        assert!(rendezvous.go_on(first, Phase::Asked, Phase::None));
        assert!(!rendezvous.go_on(first, Phase::Asked, Phase::Met), "it is cancelled");
        let second = rendezvous.begin(3).unwrap();
        assert_eq!((Rendezvous::asker(first), Rendezvous::asker(second)), (2, 3));
        assert!(second != first && !rendezvous.are_here(1 << 3));
        assert!(!rendezvous.go_on(first, Phase::Asked, Phase::Met), "another one's");
        assert!(rendezvous.go_on(second, Phase::Asked, Phase::Met));
        assert!(rendezvous.go_on(second, Phase::Met, Phase::Over) && rendezvous.is_over());
        assert_eq!(rendezvous.begin(2), None, "there is nothing left to leave");
    }

    /// A clock that each look advances by one, and at which something may happen.
    struct Steps<F>(core::cell::Cell<u64>, F);

    impl<F: Fn(u64)> Clock for Steps<F> {
        fn now(&self) -> u64 {
            self.0.get()
        }

        fn relax(&self) {
            self.0.set(self.0.get() + 1);
            (self.1)(self.0.get());
        }
    }

    /// How a meeting that all have come to ends for one of them where `then` happens at each tick.
    fn outcome_of_met(then: impl Fn(&Rendezvous, u64, u64), fails_at: u64) -> (Outcome, u32) {
        let (rendezvous, overdue) = (Rendezvous::new(), core::cell::Cell::new(0));
        let number = rendezvous.begin(1).unwrap();
        assert!(rendezvous.go_on(number, Phase::Asked, Phase::Met));
        let clock = Steps(core::cell::Cell::new(0), |now| then(&rendezvous, number, now));
        let failed = || clock.now() >= fails_at;
        let outcome = rendezvous.wait_for_end(number, &clock, 10, failed, || overdue.set(overdue.get() + 1));
        (outcome, overdue.get())
    }

    #[test]
    fn when_all_have_met_no_pp_goes_back_however_long_it_takes() {
        let destroys_until = |end| {
            move |rendezvous: &Rendezvous, number, now| {
                if now == end {
                    rendezvous.go_on(number, Phase::Met, Phase::Over);
                }
            }
        };
        assert_eq!(outcome_of_met(destroys_until(5), u64::MAX), (Outcome::Leave, 0));
        assert_eq!(
            outcome_of_met(destroys_until(1000), u64::MAX),
            (Outcome::Leave, 1),
            "late, and reported once"
        );
        assert_eq!(outcome_of_met(|_, _, _| {}, 5), (Outcome::Failed, 0));
        assert_eq!(outcome_of_met(|_, _, _| {}, 1000), (Outcome::Failed, 1));
    }

    #[test]
    fn a_meeting_that_is_not_met_in_time_is_cancelled() {
        let rendezvous = Rendezvous::new();
        let number = rendezvous.begin(1).unwrap();
        let clock = Steps(core::cell::Cell::new(0), |_| {});
        let outcome = rendezvous.wait_for_end(number, &clock, 10, || false, || panic!("it is not met"));
        assert_eq!((outcome, rendezvous.asked()), (Outcome::GoOn, None));
    }
}
