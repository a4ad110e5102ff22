//! The extension's timer on a PP: the active VS exits when the timer expires.
//!
//! A disarmed timer costs an exit nothing. To compare the counter before a run, the PP posts a `TIMER`
//! request to itself, among the requests that it checks anyway. The flag `watches_runs`, which also marks the
//! first run, makes the loop post the request again after each run. If the hardware can stop a guest at a
//! given time, the backend also ends a run in progress.

use plinth_hal::{Arch, Exit, ExitClass, HostCpu, VsHw};

use crate::ipi::mailbox::TIMER;
use crate::pp::{Next, Pp};

impl<A: Arch> Pp<'_, A> {
    /// Arms the timer, or disarms it (`None`).
    pub(crate) fn set_timer(&mut self, deadline: Option<u64>) {
        self.deadline = deadline;
        if deadline.is_none()
            && let Some(active) = &mut self.active
        {
            active.vs.hw.set_deadline(None);
        }
        self.watch_timer();
    }

    /// Posts a `TIMER` request if the timer is armed, and sets `watches_runs`.
    pub(crate) fn watch_timer(&mut self) {
        self.watches_runs =
            self.root.is_some() || self.deadline.is_some() || self.comes_later || self.is_traced();
        if self.deadline.is_some() {
            self.mailbox.post(TIMER);
        }
    }

    /// Called before a run: exits if the timer has expired, and otherwise passes the deadline to the backend.
    pub(crate) fn look_at_timer(&mut self) -> Option<Next> {
        let deadline = self.deadline?;
        if self.cpu.counter() < deadline {
            if let Some(active) = &mut self.active {
                active.vs.hw.set_deadline(Some(deadline));
            }
            return None;
        }
        self.mailbox.count(ExitClass::Timer, 1);
        self.timer_exit()
    }

    /// Handles the expired timer, and disarms it.
    #[cold]
    #[inline(never)]
    pub(crate) fn timer_exit(&mut self) -> Option<Next> {
        self.set_timer(None);
        Some(self.decide(Exit::of(ExitClass::Timer)))
    }
}
