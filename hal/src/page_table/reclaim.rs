//! Tables that are no longer linked, and what has to be flushed before they may be used again.
//!
//! A walker may still be inside a table, or have it in its paging-structure caches, after the entry that
//! led there is gone. So tables gather here, and are freed after the flush; gathering a few of them saves
//! flushes, each of which interrupts other PPs.

use crate::addr::Spa;
use core::ops::Range;

/// Tables gathered before a flush is forced: few enough for a kernel stack.
const CAPACITY: usize = 32;

/// What waits for a flush.
pub(super) struct Reclaim {
    stale: Range<u64>,
    tables: [Spa; CAPACITY],
    count: usize,
}

impl Reclaim {
    pub(super) fn new() -> Self {
        Self { stale: 0..0, tables: [Spa::new(0); CAPACITY], count: 0 }
    }

    /// Notes that translations of `range` may be cached that no longer hold.
    pub(super) fn mark(&mut self, range: Range<u64>) {
        self.stale = if self.stale.is_empty() {
            range
        } else {
            self.stale.start.min(range.start)..self.stale.end.max(range.end)
        };
    }

    /// Takes a table that nothing refers to any more. Returns false, and takes nothing, where there is no room.
    pub(super) fn push(&mut self, table: Spa) -> bool {
        let Some(slot) = self.tables.get_mut(self.count) else { return false };
        *slot = table;
        self.count = self.count.saturating_add(1);
        true
    }

    /// What to flush, then which tables to free; empties both.
    pub(super) fn take(&mut self) -> (Range<u64>, impl Iterator<Item = Spa> + use<>) {
        let tables = self.tables;
        let count = core::mem::take(&mut self.count);
        (core::mem::take(&mut self.stale), tables.into_iter().take(count))
    }
}
