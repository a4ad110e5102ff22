//! A bound on the extension's turns: one that lasts too long has failed.
//!
//! A turn is all that the extension does about one exit, calls and faults included. Each exit is counted anyway, so the
//! counts tell one turn from the next and beginning one costs nothing: whoever looks at a PP notes which turn it found there,
//! and when. One that is still the same when the time is up is overdue.
//!
//! Who looks: other PPs, when they serve their guests' interrupts to processors, and they kick the PP then; the PP
//! itself, whenever something stops the extension or it has made many calls; and the PP's own clock, where the
//! backend has one to spare ([`HostCpu::end_turn_after`]), or interrupts of the root VM's in its place.
//!
//! The extension gets its fail callback, with as much time again. A turn that needs more than that is its last.

use core::sync::atomic::Ordering;

use plinth_hal::{Arch, Exit, HostCpu};
use plinth_launch::LaunchError;

use crate::extension::end::End;
use crate::ipi::mailbox::{INTERRUPTS, Mailbox, NMI};
use crate::ipi::turn::Turn;
use crate::pp::{Next, Pp};

impl Mailbox {
    /// The ticks that are left of the PP's present turn, where one may last `limit`; 0: it is overdue.
    pub(crate) fn time_left(&self, now: u64, limit: u64) -> u64 {
        let exits = self.all_exits();
        self.turn.lock().map_or(limit, |mut turn| turn.time_left(exits, now, limit))
    }

    /// A turn begins without an exit that would tell it from the one before.
    fn begin_turn(&self, now: u64) {
        self.set_turn(Some(now));
    }

    /// The PP waits or leaves, until its next exit: no turn is under way.
    pub(crate) fn rest(&self) {
        self.set_turn(None);
    }

    fn set_turn(&self, since: Option<u64>) {
        if let Ok(mut turn) = self.turn.lock() {
            *turn = Turn::found(self.all_exits(), since);
        }
    }

    /// Gives the turn its time again; once only. Returns whether that was the first time.
    fn extend_turn(&self, now: u64) -> bool {
        self.turn.lock().is_ok_and(|mut turn| turn.extend(now))
    }

    /// Kicks the PP out of its turn. While a kick is on its way another would look like the guest's own NMI, so the turn stays
    /// locked until `kick` has sent it.
    fn kick_late(&self, now: u64, pause: u64, kick: impl FnOnce()) {
        let Ok(mut turn) = self.turn.lock() else { return };
        if turn.wants_kick(now, pause, self.start_kick()) {
            kick();
        }
    }
}

impl<A: Arch> Pp<'_, A> {
    /// A turn of the extension's begins that no exit is the cause of.
    pub(crate) fn begin_turn(&self) {
        self.mailbox.begin_turn(self.cpu.counter());
    }

    /// The extension has made a call and is going to get its answer. One that makes calls for ever is met here.
    #[inline]
    pub(crate) fn call_returns(&mut self) -> Next {
        if self.turn_bound.counts_call() { self.look_at_own_turn() } else { Next::User }
    }

    /// Something that looks like a kick has stopped the extension: one, or an NMI that is the guest's own.
    #[cold]
    #[inline(never)]
    pub(crate) fn kicked_in_turn(&mut self) -> Next {
        if !self.mailbox.finish_kick() {
            self.mailbox.post(NMI);
        }
        self.look_at_own_turn()
    }

    /// Its time may be up, or an interrupt of the root VM's has stopped it, which is given back before the next run.
    #[cold]
    pub(crate) fn clock_in_turn(&mut self) -> Next {
        self.mailbox.post(INTERRUPTS);
        self.look_at_own_turn()
    }

    /// The guest may have changed interrupt routing: looks again which interrupts can stop the extension. Not needed while the
    /// watchdog is off.
    pub(crate) fn interrupts_changed(&mut self, by: Option<&Exit>) {
        if self.turn_bound.is_set() {
            self.cpu.interrupts_changed(by);
        }
    }

    /// Lets the extension go on, if its time is not up.
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

    /// Whether the extension, which cannot go on, has had its time for this turn twice.
    pub(crate) fn is_out_of_time(&self) -> bool {
        self.time_left() == 0 && !self.mailbox.extend_turn(self.cpu.counter())
    }

    /// The extension has not returned in time.
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

    /// Kicks the PPs whose extension is overdue. Looks only as often as that takes.
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
