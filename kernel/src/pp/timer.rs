//! The extension's timer on a PP: when it has run down, the active VS exits.
//!
//! An exit pays nothing for it while it is off. The look at the counter before a run is a request that the PP leaves with
//! itself, among those that it looks for anyway; that it has to be left again after each run is known by the flag that
//! tells the first run. The hardware ends a run in time where it can.

use plinth_hal::{Arch, Exit, ExitClass, HostCpu, VsHw};

use crate::ipi::mailbox::TIMER;
use crate::pp::{Next, Pp};

impl<A: Arch> Pp<'_, A> {
    /// Sets the timer, or switches it off.
    pub(crate) fn set_timer(&mut self, deadline: Option<u64>) {
        self.deadline = deadline;
        if deadline.is_none()
            && let Some(active) = &mut self.active
        {
            active.vs.hw.set_deadline(None);
        }
        self.watch_timer();
    }

    /// Sees to it that the timer is looked at before the next run, if it is set.
    pub(crate) fn watch_timer(&mut self) {
        self.watches_runs =
            self.root.is_some() || self.deadline.is_some() || self.comes_later || self.is_traced();
        if self.deadline.is_some() {
            self.mailbox.post(TIMER);
        }
    }

    /// A VS is about to run: it exits instead where the timer has run down, else it shall exit when that happens.
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

    /// The timer has run down: it is off again.
    #[cold]
    #[inline(never)]
    pub(crate) fn timer_exit(&mut self) -> Option<Next> {
        self.set_timer(None);
        Some(self.decide(Exit::of(ExitClass::Timer)))
    }
}
