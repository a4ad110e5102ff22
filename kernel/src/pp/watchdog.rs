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
use crate::ipi::mailbox::{INTERRUPTS, NMI};
use crate::ipi::wait;
use crate::kernel::Kernel;
use crate::pp::{Next, Pp};

/// Of how many calls that return one is an occasion to look.
const CALLS: u32 = 64;
/// How often other PPs look in the time of a turn.
const LOOKS: u64 = 8;

impl<A: Arch> Pp<'_, A> {
    /// A turn of the extension's begins that no exit is the cause of.
    pub(crate) fn begin_turn(&self) {
        self.mailbox.begin_turn(self.cpu.counter());
    }

    /// The extension has made a call and is going to get its answer. One that makes calls for ever is met here.
    #[inline]
    pub(crate) fn call_returns(&mut self) -> Next {
        self.calls = self.calls.wrapping_add(1);
        if self.calls.is_multiple_of(CALLS) { self.look_at_own_turn() } else { Next::User }
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

    /// Which interrupts come to the PP may be another matter now. Without a bound none need stop the extension.
    pub(crate) fn interrupts_changed(&mut self, by: Option<&Exit>) {
        if self.turn_limit != u64::MAX {
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
        self.mailbox.time_left(self.cpu.counter(), self.turn_limit)
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
            self.cpu.end_turn_after(self.turn_limit);
        }
        next
    }

    /// Kicks the PPs whose extension is overdue. Not more often than it takes to find that out in time.
    pub(crate) fn watch_others(&mut self) {
        let (now, limit) = (self.cpu.counter(), self.turn_limit);
        if limit == u64::MAX || now < self.next_look {
            return;
        }
        let pause = limit / LOOKS;
        self.next_look = now.saturating_add(pause);
        for (index, mailbox) in self.kernel.mailboxes.iter().enumerate() {
            let in_turn = index != self.index && !mailbox.is_in_guest();
            if in_turn && mailbox.time_left(now, limit) == 0 {
                mailbox.kick_late(now, pause, || self.cpu.kick(mailbox.hardware_id.load(Ordering::Relaxed)));
            }
        }
    }
}

impl<A: Arch> Kernel<A> {
    /// What a turn may take on a PP, in ticks of its counter; `u64::MAX` for no bound.
    pub(crate) fn turn_limit(milliseconds: u64, cpu: &A::Cpu) -> u64 {
        match milliseconds {
            0 => u64::MAX,
            milliseconds => wait::ticks(milliseconds, cpu),
        }
    }
}
