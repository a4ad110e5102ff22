//! Waiting for other PPs: every wait has a bound.
//!
//! A guest decides whether a kick arrives: it may hold its processor where none does. So a PP that runs a guest and does
//! not look at its requests within the bound is *lost*: its name is logged, the call that waited fails with
//! [`Error::Unresponsive`], and nothing that the guest there may still reach is given away. Later calls do not wait for it
//! again.
//!
//! A lost PP that leaves its guest after all is reinstated. That is safe: it looks at its requests before it enters a guest
//! again, the one that it was deaf to among them, so it goes on with no translation from before; and what was kept from reuse
//! meanwhile is kept for good.

#[cfg(all(test, not(loom)))]
mod tests;

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::HostCpu;

use crate::ipi::mailbox::Mailbox;
use crate::object::table::Id;

/// Ticks per millisecond of a counter whose rate nobody tells: a fast processor's, so that the time is never too short.
const FALLBACK_RATE: u64 = 4_000_000;

/// A time in ticks of the PP's counter.
pub(crate) fn ticks(milliseconds: u64, cpu: &impl HostCpu) -> u64 {
    let rate = cpu.frequency().map_or(FALLBACK_RATE, |frequency| (frequency / 1000).max(1));
    milliseconds.saturating_mul(rate)
}

/// Time, as far as a wait needs it.
pub(crate) trait Clock {
    /// The counter, which never runs back where the caller runs.
    fn now(&self) -> u64;
    /// Lets others use the core for a moment.
    fn relax(&self);
}

/// The clock of the PP that waits.
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

/// The end of a wait.
pub(crate) struct Deadline<'c, C> {
    clock: &'c C,
    begin: u64,
    limit: u64,
}

impl<'c, C: Clock> Deadline<'c, C> {
    /// `limit` ticks from now.
    pub(crate) fn after(clock: &'c C, limit: u64) -> Self {
        Self { clock, begin: clock.now(), limit }
    }

    /// The ticks since it began.
    fn waited(&self) -> u64 {
        self.clock.now().wrapping_sub(self.begin)
    }

    /// Waits until `done`. Returns false where that is not so in time.
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

    /// The same, with `remind` called once at half-time.
    pub(crate) fn wait_and_remind(&self, done: impl Fn() -> bool, remind: impl FnOnce()) -> bool {
        let half = Deadline { limit: self.limit / 2, ..*self };
        half.wait(&done) || {
            remind();
            self.wait(done)
        }
    }
}

/// A PP has not heard what was asked of it: it may still use what its TLB held before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unheard;

impl From<Unheard> for Failure {
    fn from(_: Unheard) -> Self {
        Error::Unresponsive.into()
    }
}

/// How a question to other PPs is put.
pub(crate) struct Question<'c, K, C> {
    /// What is asked, as in [`Mailbox::post`].
    pub(crate) request: u32,
    /// Whose guests must not run on without having seen it. A PP that runs another VM sees it before its next entry.
    pub(crate) vm: Id,
    /// Makes a PP's guest stop.
    pub(crate) kick: K,
    /// What measures the time.
    pub(crate) clock: &'c C,
    /// The ticks that all of them have together.
    pub(crate) limit: u64,
}

impl<K: Fn(&Mailbox), C: Clock> Question<'_, K, C> {
    /// Leaves the request with each of `others`, and waits until no guest of the VM runs there that has not seen it. `lose` is
    /// told of each PP that is lost by that.
    ///
    /// # Errors
    /// [`Unheard`]: on a lost PP such a guest may still run.
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
                    // It has answered at the last moment, and may not have seen that it was lost.
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

    /// Nobody waits twice for a PP that is lost. A kick that has not arrived at half-time is sent again: it may have met a
    /// processor that was none then.
    fn is_heard(&self, mailbox: &Mailbox, deadline: &Deadline<'_, C>) -> bool {
        let heard = || !self.is_deaf(mailbox);
        if mailbox.is_lost() { heard() } else { deadline.wait_and_remind(heard, || (self.kick)(mailbox)) }
    }
}
