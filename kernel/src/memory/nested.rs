//! Helpers that all edits and lookups of nested tables share.

use plinth_extension_api::abi::MemoryAccess;
use plinth_hal::HostCpu;
use plinth_hal::page_table::{Permissions, TlbSink};

/// The size of the leaves that map the root VM's memory, on processors that have such leaves.
pub(crate) const GIB: u64 = 1 << 30;

/// A [`TlbSink`] that invalidates the TLBs of all PPs at once, on hardware that can.
pub(crate) struct Broadcast<'a, C>(pub(crate) &'a C);

impl<I, C: HostCpu> TlbSink<I> for Broadcast<'_, C> {
    fn flush(&mut self, _: I, _: u64) {
        // Hardware that cannot does not need break-before-make.
        let _ = self.0.flush_everywhere();
    }
}

/// Whether a mapping permits the access that a memory exit reports.
pub(crate) fn allows(permissions: Permissions, access: u64) -> bool {
    let access = MemoryAccess::from_bits_truncate(access);
    let mut wanted = Permissions::READ;
    wanted.set(Permissions::WRITE, access.contains(MemoryAccess::WRITE));
    wanted.set(Permissions::EXECUTE, access.contains(MemoryAccess::EXECUTE));
    permissions.contains(wanted)
}
