//! Taking memory away from the extension while it runs on other PPs.
//!
//! A PP in the extension cannot be interrupted, and waiting for it could take for ever: the extension there
//! may itself wait for this PP. So nobody waits. Each page taken away begins an epoch; a PP flushes
//! its TLB when it enters the extension in a newer epoch than last time; and a frame is free only once no PP
//! runs the extension in an older one.

use plinth_hal::HostCpu;

use crate::extension::Extension;
use crate::ipi::mailbox::Mailbox;

/// Says that the extension is about to run on the PP of this mailbox, whose TLB has nothing in it from before the epoch
/// `seen`; brings that up to date.
#[inline(always)]
pub(crate) fn begin(mailbox: &Mailbox, extension: &Extension, cpu: &mut impl HostCpu, seen: &mut u64) {
    if let Some(epoch) = mailbox.enter_user(&extension.epoch, *seen) {
        cpu.flush_host_tlb();
        *seen = epoch;
    }
}
