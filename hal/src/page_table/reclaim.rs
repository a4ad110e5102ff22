//! Unlinked tables, and the ranges to invalidate before these tables may be freed.
//!
//! A hardware page walk may still be inside a table, or a paging-structure cache may still refer to it, after
//! the entry that pointed to the table is gone. So unlinked tables collect here, and the editor frees them
//! after a TLB invalidation. Collecting several tables saves invalidations, each of which interrupts other
//! PPs.

use crate::addr::Spa;
use core::ops::Range;

/// The number of tables that can wait before the editor must invalidate. Small enough for a kernel stack.
const CAPACITY: usize = 32;

/// The range and the tables that wait for an invalidation.
pub(super) struct Reclaim {
    stale: Range<u64>,
    tables: [Spa; CAPACITY],
    count: usize,
}

impl Reclaim {
    pub(super) fn new() -> Self {
        Self { stale: 0..0, tables: [Spa::new(0); CAPACITY], count: 0 }
    }

    /// Marks `range`: TLBs may hold translations of it that are no longer valid.
    pub(super) fn mark(&mut self, range: Range<u64>) {
        self.stale = if self.stale.is_empty() {
            range
        } else {
            self.stale.start.min(range.start)..self.stale.end.max(range.end)
        };
    }

    /// Adds a table that no entry refers to any more. Returns false, and adds nothing, if the list is full.
    pub(super) fn push(&mut self, table: Spa) -> bool {
        let Some(slot) = self.tables.get_mut(self.count) else { return false };
        *slot = table;
        self.count = self.count.saturating_add(1);
        true
    }

    /// Returns the range to invalidate and the tables to free afterwards, and empties both.
    pub(super) fn take(&mut self) -> (Range<u64>, impl Iterator<Item = Spa> + use<>) {
        let tables = self.tables;
        let count = core::mem::take(&mut self.count);
        (core::mem::take(&mut self.stale), tables.into_iter().take(count))
    }
}
