//! The machine's processors and its time.

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{Error, Failure, TIMER_OFF};
use plinth_hal::{Arch, HostCpu, UserContext};

use super::{Answer, DONE};
use crate::ipi::mailbox::{ATTENTION, PpState};
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// This PP, and how many there are.
    pub(super) fn pp_query(&mut self) -> Answer {
        Ok([self.index as u64, self.kernel.launched_pps() as u64])
    }

    /// Makes a PP's active VS exit to the extension.
    pub(super) fn pp_kick(&mut self) -> Answer {
        let bad = Failure::argument(1, Error::InvalidArgument);
        let index = usize::try_from(self.user.argument(1)).map_err(|_| bad)?;
        let mailbox = self.kernel.mailboxes.get(index).ok_or(bad)?;
        if mailbox.state() != PpState::Online {
            return Err(bad);
        }
        mailbox.post(ATTENTION);
        if index != self.index && mailbox.start_kick() {
            self.cpu.kick(mailbox.hardware_id.load(Ordering::Relaxed));
        }
        DONE
    }

    /// Sets when the active VS exits.
    pub(super) fn timer_set(&mut self) -> Answer {
        self.set_timer(Some(self.user.argument(1)).filter(|deadline| *deadline != TIMER_OFF));
        DONE
    }

    /// The machine's counter, and how fast it counts.
    pub(super) fn time_read(&mut self) -> Answer {
        Ok([self.cpu.counter(), self.cpu.frequency().unwrap_or(0)])
    }
}
