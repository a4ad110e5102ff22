//! A turn of the extension, as other PPs see it: how long it has lasted, and whether its PP has been kicked out of it.

use crate::ipi::mailbox::Mailbox;

/// The turn of the extension that somebody has found on a PP.
pub(crate) struct Turn {
    /// The exits that the PP had had.
    exits: u64,
    /// When it was found; `None` on a PP that waits or is outside.
    since: Option<u64>,
    /// It has been overdue once.
    late: bool,
    /// When it was last kicked, or found with somebody else's kick on its way.
    kicked: Option<u64>,
}

impl Turn {
    pub(crate) const fn new() -> Self {
        Self::found(0, None)
    }

    const fn found(exits: u64, since: Option<u64>) -> Self {
        Self { exits, since, late: false, kicked: None }
    }
}

impl Mailbox {
    /// The ticks that are left of the PP's present turn, where one may last `limit`; 0: it is overdue.
    pub(crate) fn time_left(&self, now: u64, limit: u64) -> u64 {
        let exits = self.all_exits();
        let Ok(mut turn) = self.turn.lock() else { return limit };
        if turn.exits != exits {
            *turn = Turn::found(exits, Some(now));
        }
        turn.since.map_or(limit, |since| limit.saturating_sub(now.saturating_sub(since)))
    }

    /// A turn begins that no exit tells from the one before.
    pub(crate) fn begin_turn(&self, now: u64) {
        self.set_turn(Some(now));
    }

    /// Says that the PP waits or leaves. The next exit ends that.
    pub(crate) fn rest(&self) {
        self.set_turn(None);
    }

    fn set_turn(&self, since: Option<u64>) {
        if let Ok(mut turn) = self.turn.lock() {
            *turn = Turn::found(self.all_exits(), since);
        }
    }

    /// Gives the turn its time again; once only. Returns whether that was the first time.
    pub(crate) fn extend_turn(&self, now: u64) -> bool {
        let Ok(mut turn) = self.turn.lock() else { return false };
        turn.since = Some(now);
        !core::mem::replace(&mut turn.late, true)
    }

    /// Kicks the PP out of its turn. While a kick is on its way another would look like the guest's own NMI; one that was on
    /// its way a `pause` ago has come, and was not noticed: the extension was not running yet. So the next one to look waits
    /// until `kick` has sent it.
    pub(crate) fn kick_late(&self, now: u64, pause: u64, kick: impl FnOnce()) {
        let Ok(mut turn) = self.turn.lock() else { return };
        let lost = turn.kicked.is_some_and(|kicked| now.saturating_sub(kicked) >= pause);
        let kicks = self.start_kick() || lost;
        if kicks || turn.kicked.is_none() {
            turn.kicked = Some(now);
        }
        if kicks {
            kick();
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
