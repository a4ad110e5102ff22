//! The last step of a PP under the hypervisor: it sorts pending NMIs. A kick of another PP is consumed, since
//! on the bare machine it would be an NMI without a sender. An NMI for the OS is re-sent, so that the OS
//! receives it.

use plinth_hal::{Arch, HostCpu};

use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Waits for a kick that is in flight to this PP, and re-sends every other NMI to the OS's handler.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle_kicks(&mut self) {
        if !A::Cpu::KICK_IS_NMI {
            return;
        }
        let (begin, limit) = (self.cpu.counter(), self.kernel.answer_limit(&self.cpu));
        let mut arrived = self.cpu.take_kicks();
        // BOUND: the time that a PP has to answer. The counter runs whatever others do.
        while arrived == 0 && self.mailbox.expects_kick() && self.cpu.counter().wrapping_sub(begin) < limit {
            self.cpu.relax();
            arrived = self.cpu.take_kicks();
        }
        if self.mailbox.finish_kick() {
            if arrived == 0 {
                log::warn!(
                    "pp {}: a kick to it does not arrive: the OS may get an NMI that nobody has sent",
                    self.index
                );
            }
            arrived = arrived.saturating_sub(1);
        }
        if arrived != 0 {
            self.cpu.kick(self.cpu.hardware_id());
        }
    }
}
