//! Taking memory away from the extension while it runs on other PPs.
//!
//! A PP in the extension cannot be interrupted, and waiting for it could take for ever: the extension there
//! may itself wait for this PP. So nobody waits. Each page taken away begins an epoch; a PP flushes
//! its TLB when it enters the extension in a newer epoch than last time; and a frame is free only once no PP
//! runs the extension in an older one.

use core::sync::atomic::Ordering;

use plinth_hal::{Arch, HostCpu, Spa, UserExit};

use crate::extension::Extension;
use crate::ipi::mailbox::Mailbox;
use crate::kernel::Kernel;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Runs the extension, with no translation from before the last page was taken away.
    #[inline]
    pub(crate) fn enter_user(&mut self) -> UserExit {
        begin(self.mailbox, self.extension, &mut self.cpu, &mut self.host_epoch);
        let exit = self.cpu.enter_user(&mut self.user);
        // Looked at before the store that other PPs see, behind which the compiler would look for it in memory.
        let called = matches!(exit, UserExit::Call);
        self.mailbox.leave_user();
        if called { UserExit::Call } else { exit }
    }
}

/// Says that the extension is about to run on the PP of this mailbox, whose TLB has nothing in it from before the epoch
/// `seen`; brings that up to date.
#[inline(always)]
pub(crate) fn begin(mailbox: &Mailbox, extension: &Extension, cpu: &mut impl HostCpu, seen: &mut u64) {
    if let Some(epoch) = mailbox.enter_user(&extension.epoch, *seen) {
        cpu.flush_host_tlb();
        *seen = epoch;
    }
}

impl<A: Arch> Kernel<A> {
    /// Gives up frames that the host's tables no longer lead to. They are free as soon as that is true of
    /// the TLBs as well.
    pub(crate) fn retire(&self, frames: impl Iterator<Item = Spa>) {
        // Where the pool's lock is lost, they stay whose they are.
        let Ok(mut pool) = self.frames.lock() else { return };
        frames.for_each(|frame| pool.retire(frame));
        self.extension.epoch.fetch_add(1, Ordering::SeqCst);
        drop(pool);
        self.settle();
    }

    /// Frees retired frames, if it is time.
    pub(crate) fn settle(&self) {
        let Ok(mut pool) = self.frames.lock() else { return };
        let epoch = self.extension.epoch.load(Ordering::SeqCst);
        if pool.is_leaving() && !self.mailboxes.iter().any(|mailbox| mailbox.is_behind(epoch)) {
            pool.settle();
        }
    }
}
