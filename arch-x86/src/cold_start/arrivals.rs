//! What a processor looks for when it arrives: its number and a stack, by its local APIC id.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use plinth_kernel::MAX_PPS;

/// One processor's. Read by the trampoline in assembly: the order counts.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Arrival {
    id: AtomicU32,
    pp: AtomicU32,
    stack_end: AtomicU64,
}

/// All of them.
pub(crate) struct Arrivals([Arrival; MAX_PPS]);

/// The machine's.
pub(crate) static ARRIVALS: Arrivals = Arrivals(
    [const { Arrival { id: AtomicU32::new(u32::MAX), pp: AtomicU32::new(0), stack_end: AtomicU64::new(0) } };
        MAX_PPS],
);

const _: () = assert!(size_of::<Arrival>() == 16);

impl Arrivals {
    /// Fills one in.
    pub(crate) fn set(&self, index: usize, id: u32, pp: u32, stack_end: u64) {
        let Some(arrival) = self.0.get(index) else { return };
        arrival.stack_end.store(stack_end, Ordering::Relaxed);
        arrival.pp.store(pp, Ordering::Relaxed);
        arrival.id.store(id, Ordering::Release);
    }
}
