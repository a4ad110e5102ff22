//! The turn of the extension on a PP, as the watchdogs of other PPs see it.
//!
//! A *turn* is the time from an upcall to the system call that ends it. Every exit is counted anyway, and the
//! exit count of the PP identifies a turn, so a turn costs nothing on the exit path: another PP that finds
//! the same count as before knows that the same turn still lasts. It records when it first saw the turn, and
//! kicks the PP once the limit has passed.

/// The turn that a watchdog last saw on a PP.
pub(crate) struct Turn {
    /// The exit count of the PP, which identifies the turn.
    exits: u64,
    /// The time at which a watchdog first saw the turn; `None` while the PP waits or is outside.
    since: Option<u64>,
    /// The turn has exceeded its limit once.
    late: bool,
    /// The time of the last kick, or of the last look that found another kick in flight.
    kicked: Option<u64>,
}

impl Turn {
    /// No turn.
    pub(crate) const fn new() -> Self {
        Self::found(0, None)
    }

    /// A turn with this exit count, first seen at `since`.
    pub(crate) const fn found(exits: u64, since: Option<u64>) -> Self {
        Self { exits, since, late: false, kicked: None }
    }

    /// The ticks that remain of a turn that may last `limit`; 0 if the turn is overdue.
    pub(crate) fn time_left(&mut self, exits: u64, now: u64, limit: u64) -> u64 {
        if self.exits != exits {
            *self = Self::found(exits, Some(now));
        }
        self.since.map_or(limit, |since| limit.saturating_sub(now.saturating_sub(since)))
    }

    /// Restarts the time of the turn. Returns whether this is the first extension; the caller allows only
    /// one.
    pub(crate) fn extend(&mut self, now: u64) -> bool {
        self.since = Some(now);
        !core::mem::replace(&mut self.late, true)
    }

    /// Whether to kick the PP now. `is_free` means that no kick is in flight to it; the guest would see a
    /// second kick as its own NMI. A kick that was in flight `pause` ticks ago has arrived at a moment when
    /// the extension was not running yet, and had no effect. Then another one is due.
    pub(crate) fn wants_kick(&mut self, now: u64, pause: u64, is_free: bool) -> bool {
        let lost = self.kicked.is_some_and(|kicked| now.saturating_sub(kicked) >= pause);
        let kicks = is_free || lost;
        if kicks || self.kicked.is_none() {
            self.kicked = Some(now);
        }
        kicks
    }
}
