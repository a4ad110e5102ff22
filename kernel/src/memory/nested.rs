//! What edits and looks at nested tables have in common.

use plinth_extension_api::abi::MemoryAccess;
use plinth_hal::HostCpu;
use plinth_hal::page_table::{Permissions, TlbSink};

/// What the root VM's memory is mapped in, where the processor has such leaves; else in the next smaller ones.
pub(crate) const GIB: u64 = 1 << 30;

/// Tells all TLBs at once, where the hardware can.
pub(crate) struct Broadcast<'a, C>(pub(crate) &'a C);

impl<I, C: HostCpu> TlbSink<I> for Broadcast<'_, C> {
    fn flush(&mut self, _: I, _: u64) {
        // Where it cannot, it is not break-before-make that asks.
        let _ = self.0.flush_everywhere();
    }
}

/// Whether a mapping allows an access of the kind that a memory exit tells.
pub(crate) fn allows(permissions: Permissions, access: u64) -> bool {
    let access = MemoryAccess::from_bits_truncate(access);
    let mut wanted = Permissions::READ;
    wanted.set(Permissions::WRITE, access.contains(MemoryAccess::WRITE));
    wanted.set(Permissions::EXECUTE, access.contains(MemoryAccess::EXECUTE));
    permissions.contains(wanted)
}
