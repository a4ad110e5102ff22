//! Epochs: lazy TLB shootdown for the extension's own page tables.
//!
//! When a page is taken away from the extension, other PPs may still run the extension with a stale
//! translation of the page. The kernel cannot wait for them: it cannot interrupt a PP in user mode, and the
//! extension there may itself wait for this PP. So the page only becomes *quarantined*, and the global epoch
//! is incremented. A PP records the epoch in its mailbox when it enters the extension, and invalidates its
//! TLB if the epoch is newer than at its last entry. A quarantined frame becomes free once no PP runs the
//! extension in an older epoch. This is epoch-based reclamation, as in RCU, with each stay in user mode as a
//! read-side section.

use plinth_hal::HostCpu;

use crate::extension::Extension;
use crate::ipi::mailbox::Mailbox;

/// Marks that the extension is about to run on the PP of this mailbox. `seen` is the epoch of the PP's last
/// TLB invalidation. Invalidates the TLB and updates `seen` if a newer epoch has begun.
#[inline(always)]
pub(crate) fn begin(mailbox: &Mailbox, extension: &Extension, cpu: &mut impl HostCpu, seen: &mut u64) {
    if let Some(epoch) = mailbox.enter_user(&extension.epoch, *seen) {
        cpu.flush_host_tlb();
        *seen = epoch;
    }
}
