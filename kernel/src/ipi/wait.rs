//! Waiting for other PPs. Every wait has a bound.
//!
//! A guest can keep its processor in a state in which a kick does not arrive. So a PP that runs a guest and
//! does not look at its requests within the bound is *lost*. The kernel logs its number, the call that waited
//! fails with [`Error::Unresponsive`], and no memory that the guest may still reach is freed. Later calls do
//! not wait for a lost PP.
//!
//! A lost PP that leaves its guest after all is reinstated. That is safe: the PP looks at its requests before
//! it enters a guest again, including the request that it missed, so no old translation survives. Memory that
//! was withheld meanwhile stays withheld for good.

#[cfg(all(test, not(loom)))]
mod tests;

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::HostCpu;

use crate::ipi::mailbox::Mailbox;
use crate::object::table::Id;

/// Ticks per millisecond of a counter whose frequency the machine does not report: that of a fast processor,
/// so that a timeout is never too short.
const FALLBACK_RATE: u64 = 4_000_000;

/// Converts milliseconds to ticks of the PP's counter.
pub(crate) fn ticks(milliseconds: u64, cpu: &impl HostCpu) -> u64 {
    let rate = cpu.frequency().map_or(FALLBACK_RATE, |frequency| (frequency / 1000).max(1));
    milliseconds.saturating_mul(rate)
}

/// The time source of a wait.
pub(crate) trait Clock {
    /// The counter, which is monotonic on the calling PP.
    fn now(&self) -> u64;
    /// A spin-loop hint.
    fn relax(&self);
}

/// The counter of the PP that waits.
pub(crate) struct CpuClock<'c, C>(pub(crate) &'c C);

impl<C: HostCpu> Clock for CpuClock<'_, C> {
    fn now(&self) -> u64 {
        self.0.counter()
    }

    fn relax(&self) {
        // BOUND: one pause, not a loop: each caller's loop names its own bound.
        self.0.relax();
    }
}

/// The deadline of a wait.
pub(crate) struct Deadline<'c, C> {
    clock: &'c C,
    begin: u64,
    limit: u64,
}

impl<'c, C: Clock> Deadline<'c, C> {
    /// A deadline `limit` ticks from now.
    pub(crate) fn after(clock: &'c C, limit: u64) -> Self {
        Self { clock, begin: clock.now(), limit }
    }

    /// The ticks since the wait began.
    fn waited(&self) -> u64 {
        self.clock.now().wrapping_sub(self.begin)
    }

    /// Waits until `done` returns true. Returns false if the deadline passes first.
    pub(crate) fn wait(&self, done: impl Fn() -> bool) -> bool {
        // BOUND: the deadline. The counter runs whatever other PPs do.
        while !done() {
            if self.waited() >= self.limit {
                return done();
            }
            self.clock.relax();
        }
        true
    }

    /// As [`Self::wait`], and calls `remind` once when half of the time has passed.
    pub(crate) fn wait_and_remind(&self, done: impl Fn() -> bool, remind: impl FnOnce()) -> bool {
        let half = Deadline { limit: self.limit / 2, ..*self };
        half.wait(&done) || {
            remind();
            self.wait(done)
        }
    }
}

/// A PP has not looked at a request in time. Its TLB may still hold old translations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unheard;

impl From<Unheard> for Failure {
    fn from(_: Unheard) -> Self {
        Error::Unresponsive.into()
    }
}

/// A request to other PPs, and how to wait for its effect.
pub(crate) struct Question<'c, K, C> {
    /// The request bits, as in [`Mailbox::post`].
    pub(crate) request: u32,
    /// The VM whose guests must not run on without the request. A PP that runs another VM sees the request
    /// before its next entry.
    pub(crate) vm: Id,
    /// Sends a kick to a PP.
    pub(crate) kick: K,
    /// The time source.
    pub(crate) clock: &'c C,
    /// The time in ticks that all PPs have together.
    pub(crate) limit: u64,
}

impl<K: Fn(&Mailbox), C: Clock> Question<'_, K, C> {
    /// Posts the request to each of `others`, and waits until no guest of the VM runs there that has not seen
    /// it. Calls `lose` for each PP that becomes lost.
    ///
    /// # Errors
    /// [`Unheard`]: such a guest may still run on a lost PP.
    pub(crate) fn ask<'m>(
        &self,
        others: impl Iterator<Item = (usize, &'m Mailbox)> + Clone,
        mut lose: impl FnMut(usize),
    ) -> Result<(), Unheard> {
        for (_, mailbox) in others.clone() {
            let in_guest = mailbox.post(self.request);
            if in_guest && mailbox.runs(self.vm) && mailbox.start_kick() {
                (self.kick)(mailbox);
            }
        }
        let deadline = Deadline::after(self.clock, self.limit);
        let mut answer = Ok(());
        for (pp, mailbox) in others {
            if self.is_heard(mailbox, &deadline) {
                continue;
            }
            if mailbox.set_lost() {
                if !self.is_deaf(mailbox) {
                    // The PP looked at the request at the last moment, and may not have seen the mark.
                    mailbox.is_found();
                    continue;
                }
                lose(pp);
            }
            answer = Err(Unheard);
        }
        answer
    }

    fn is_deaf(&self, mailbox: &Mailbox) -> bool {
        mailbox.is_deaf_to(self.request) && mailbox.runs(self.vm)
    }

    /// Waits until the PP has looked at the request, except for a lost PP, which gets no second wait. Repeats
    /// the kick at half-time: the first may have met a processor that was not started yet.
    fn is_heard(&self, mailbox: &Mailbox, deadline: &Deadline<'_, C>) -> bool {
        let heard = || !self.is_deaf(mailbox);
        if mailbox.is_lost() { heard() } else { deadline.wait_and_remind(heard, || (self.kick)(mailbox)) }
    }
}
