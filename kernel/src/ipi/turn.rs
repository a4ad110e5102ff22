//! A turn of the extension, as other PPs see it: how long it has lasted, and whether its PP has been kicked out of it.

/// The turn of the extension that a PP, which looks at another one or at itself, has found there.
pub(crate) struct Turn {
    /// The exits that the PP had had: another number means another turn.
    exits: u64,
    /// When the turn was found, in ticks; `None` on a PP that waits or is outside.
    since: Option<u64>,
    /// The turn has been overdue once.
    late: bool,
    /// When the PP was last kicked out of it, or found with another kick on its way.
    kicked: Option<u64>,
}

impl Turn {
    /// No turn.
    pub(crate) const fn new() -> Self {
        Self::found(0, None)
    }

    /// A turn after so many exits, found at `since`.
    pub(crate) const fn found(exits: u64, since: Option<u64>) -> Self {
        Self { exits, since, late: false, kicked: None }
    }

    /// The ticks that are left where a turn may last `limit`, on a PP that has had `exits`; 0: it is overdue.
    pub(crate) fn time_left(&mut self, exits: u64, now: u64, limit: u64) -> u64 {
        if self.exits != exits {
            *self = Self::found(exits, Some(now));
        }
        self.since.map_or(limit, |since| limit.saturating_sub(now.saturating_sub(since)))
    }

    /// Gives the turn its time again; once only. Returns whether that was the first time.
    pub(crate) fn extend(&mut self, now: u64) -> bool {
        self.since = Some(now);
        !core::mem::replace(&mut self.late, true)
    }

    /// Whether to kick the PP now. `is_free`: no kick is on its way to it. A kick that was on its way `pause` ticks ago has
    /// arrived without effect, since the extension was not running yet, and is sent again.
    pub(crate) fn wants_kick(&mut self, now: u64, pause: u64, is_free: bool) -> bool {
        let lost = self.kicked.is_some_and(|kicked| now.saturating_sub(kicked) >= pause);
        let kicks = is_free || lost;
        if kicks || self.kicked.is_none() {
            self.kicked = Some(now);
        }
        kicks
    }
}
