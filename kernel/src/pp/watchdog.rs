//! The watchdog: a time limit for each turn of the extension.
//!
//! A turn is the time from an upcall to the system call that ends it, including all calls and faults between.
//! The exit count of a PP identifies its turn, so the watchdog costs the exit path nothing (see `ipi::turn`).
//! A turn that exceeds its limit is overdue.
//!
//! Three parties look for overdue turns. Other PPs look when they handle processor control of their guests,
//! and kick the PP. The PP itself looks whenever something stops the extension, and once in many system
//! calls. Last, the timer of the PP stops the extension, if the backend can spare a timer
//! ([`HostCpu::end_turn_after`]); otherwise interrupts of the root VM do.
//!
//! An overdue extension gets its fail callback, with the same limit again. After a second overrun in the same
//! turn the extension has crashed.

use core::sync::atomic::Ordering;

use plinth_hal::{Arch, Exit, HostCpu};
use plinth_launch::LaunchError;

use crate::extension::end::End;
use crate::ipi::mailbox::{INTERRUPTS, Mailbox, NMI};
use crate::ipi::turn::Turn;
use crate::pp::{Next, Pp};

impl Mailbox {
    /// The ticks that remain of the present turn, which may last `limit`; 0 if the turn is overdue.
    pub(crate) fn time_left(&self, now: u64, limit: u64) -> u64 {
        let exits = self.all_exits();
        self.turn.lock().map_or(limit, |mut turn| turn.time_left(exits, now, limit))
    }

    /// Begins a turn that does not follow an exit, so that the exit count does not mark it.
    fn begin_turn(&self, now: u64) {
        self.set_turn(Some(now));
    }

    /// Marks that the PP waits or leaves: no turn runs until its next exit.
    pub(crate) fn rest(&self) {
        self.set_turn(None);
    }

    fn set_turn(&self, since: Option<u64>) {
        if let Ok(mut turn) = self.turn.lock() {
            *turn = Turn::found(self.all_exits(), since);
        }
    }

    /// Restarts the time of the turn. Returns whether this is the first extension; the caller allows only
    /// one.
    fn extend_turn(&self, now: u64) -> bool {
        self.turn.lock().is_ok_and(|mut turn| turn.extend(now))
    }

    /// Kicks the PP out of its turn. Holds the lock of the turn until `kick` has sent the kick, since the
    /// guest would see a second kick as its own NMI.
    fn kick_late(&self, now: u64, pause: u64, kick: impl FnOnce()) {
        let Ok(mut turn) = self.turn.lock() else { return };
        if turn.wants_kick(now, pause, self.start_kick()) {
            kick();
        }
    }
}

impl<A: Arch> Pp<'_, A> {
    /// Begins a turn of the extension that does not follow an exit.
    pub(crate) fn begin_turn(&self) {
        self.mailbox.begin_turn(self.cpu.counter());
    }

    /// Called when a system call returns to the extension. Catches an extension that makes calls for ever.
    #[inline]
    pub(crate) fn call_returns(&mut self) -> Next {
        if self.turn_bound.counts_call() { self.look_at_own_turn() } else { Next::User }
    }

    /// Handles a kick that stopped the extension, or an NMI of the guest, which looks the same.
    #[cold]
    #[inline(never)]
    pub(crate) fn kicked_in_turn(&mut self) -> Next {
        if !self.mailbox.finish_kick() {
            self.mailbox.post(NMI);
        }
        self.look_at_own_turn()
    }

    /// Handles the preemption timer, or an interrupt of the root VM that stopped the extension and that the
    /// kernel gives back before the next run.
    #[cold]
    pub(crate) fn clock_in_turn(&mut self) -> Next {
        self.mailbox.post(INTERRUPTS);
        self.look_at_own_turn()
    }

    /// The guest may have changed interrupt routing: re-evaluates whether interrupts can preempt the
    /// extension. Not needed when the watchdog is off.
    pub(crate) fn interrupts_changed(&mut self, by: Option<&Exit>) {
        if self.turn_bound.is_set() {
            self.cpu.interrupts_changed(by);
        }
    }

    /// Resumes the extension, unless its turn is overdue.
    #[cold]
    #[inline(never)]
    pub(crate) fn look_at_own_turn(&mut self) -> Next {
        match self.time_left() {
            0 => self.overdue(),
            left => {
                self.cpu.end_turn_after(left);
                Next::User
            }
        }
    }

    fn time_left(&self) -> u64 {
        self.mailbox.time_left(self.cpu.counter(), self.turn_bound.limit())
    }

    /// Whether a failed extension has exceeded the limit of this turn twice.
    pub(crate) fn is_out_of_time(&self) -> bool {
        self.time_left() == 0 && !self.mailbox.extend_turn(self.cpu.counter())
    }

    /// Handles an overdue turn.
    #[cold]
    fn overdue(&mut self) -> Next {
        let (pp, callback) = (self.index, self.callback);
        log::error!("pp {pp}: the extension has not returned from its {callback:?} callback in time");
        if self.root.is_some() {
            return self.abandon(LaunchError::ExtensionOverdue, 0);
        }
        let next = self.fail(End::Overdue, None);
        if next == Next::User {
            self.cpu.end_turn_after(self.turn_bound.limit());
        }
        next
    }

    /// Kicks the PPs whose turn is overdue. Looks at most once in the interval that `TurnBound` sets.
    pub(crate) fn watch_others(&mut self) {
        let (now, limit) = (self.cpu.counter(), self.turn_bound.limit());
        let Some(pause) = self.turn_bound.looks_at_others(now) else { return };
        for (index, mailbox) in self.kernel.mailboxes.iter().enumerate() {
            let in_turn = index != self.index && !mailbox.is_in_guest();
            if in_turn && mailbox.time_left(now, limit) == 0 {
                mailbox.kick_late(now, pause, || self.cpu.kick(mailbox.hardware_id.load(Ordering::Relaxed)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use plinth_hal::ExitClass;

    use super::*;

    #[test]
    fn a_turn_is_overdue_when_it_was_seen_a_limit_ago() {
        let mailbox = Mailbox::new();
        mailbox.begin_turn(100);
        assert_eq!(mailbox.time_left(130, 50), 20);
        assert_eq!(mailbox.time_left(90, 50), 50, "a counter that is a little behind");
        assert_eq!(mailbox.time_left(150, 50), 0);
        mailbox.count(ExitClass::IdRead, 1);
        assert_eq!(mailbox.time_left(150, 50), 50, "another turn");
        mailbox.rest();
        assert_eq!(mailbox.time_left(1000, 50), 50, "nobody's turn");
    }

    #[test]
    fn a_turn_is_extended_once() {
        let mailbox = Mailbox::new();
        mailbox.begin_turn(0);
        assert!(mailbox.extend_turn(60));
        assert_eq!(mailbox.time_left(100, 50), 10);
        assert!(!mailbox.extend_turn(120));
        mailbox.count(ExitClass::IdRead, 1);
        mailbox.time_left(130, 50);
        assert!(mailbox.extend_turn(180), "the next turn is another one");
    }

    #[test]
    fn a_turn_is_kicked_again_only_when_the_kick_is_lost() {
        let mailbox = Mailbox::new();
        let kicks = |now| {
            let mut kicked = false;
            mailbox.kick_late(now, 10, || kicked = true);
            kicked
        };
        mailbox.begin_turn(0);
        assert!(kicks(50));
        assert!(!kicks(51), "it is on its way");
        assert!(kicks(60), "it was not noticed");
        assert!(mailbox.finish_kick());
        assert!(kicks(61), "the next one");
        mailbox.begin_turn(70);
        assert!(!kicks(120), "one from before may be on its way");
        assert!(kicks(130));
    }
}
