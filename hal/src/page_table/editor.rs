//! The state of one modifying operation: the tree, its memory, and the ranges and tables that wait for an
//! invalidation.

use super::geometry::Geometry;
use super::reclaim::Reclaim;
use super::view::View;
use super::{Entry, InputAddress, PageTable, PtFormat, TableMemory, TlbSink};
use crate::addr::Spa;
use core::ops::Range;

/// One modifying operation in progress. [`finish`](Self::finish) ends it.
pub(super) struct Editor<'a, F, M, T> {
    pub(super) root: Spa,
    pub(super) format: &'a F,
    pub(super) memory: &'a mut M,
    tlb: &'a mut T,
    reclaim: Reclaim,
}

impl<'a, F: PtFormat, M: TableMemory, T: TlbSink<F::Input>> Editor<'a, F, M, T> {
    pub(super) fn new(table: &'a mut PageTable<F>, memory: &'a mut M, tlb: &'a mut T) -> Self {
        Self { root: table.root, format: &table.format, memory, tlb, reclaim: Reclaim::new() }
    }

    pub(super) fn view(&self) -> View<'_, F, M> {
        View { root: self.root, format: self.format, memory: self.memory }
    }

    pub(super) fn entry(&self, table: Spa, index: usize, level: u8) -> Entry {
        self.format.decode(self.memory.read(table, index), level)
    }

    /// Marks `range` for TLB invalidation before the operation ends.
    pub(super) fn stale(&mut self, range: Range<u64>) {
        self.reclaim.mark(range);
    }

    /// Frees `table`, which no entry refers to any more, after the next TLB invalidation.
    pub(super) fn retire(&mut self, table: Spa) {
        if !self.reclaim.push(table) {
            self.settle();
            // `settle` has emptied the list.
            self.reclaim.push(table);
        }
    }

    /// Replaces a live entry that covers `range` by an entry of another size, address or memory type, with
    /// break-before-make if the format requires it.
    pub(super) fn replace(&mut self, table: Spa, index: usize, entry: u64, range: Range<u64>) {
        if F::BREAK_BEFORE_MAKE {
            self.memory.write(table, index, 0);
            self.flush(range);
        } else {
            self.stale(range);
        }
        self.memory.write(table, index, entry);
    }

    /// Invalidates the marked ranges, then frees the retired tables.
    pub(super) fn finish(mut self) {
        self.settle();
    }

    fn settle(&mut self) {
        let (stale, tables) = self.reclaim.take();
        if !stale.is_empty() {
            self.flush(stale);
        }
        tables.for_each(|table| self.memory.free(table, 1));
    }

    fn flush(&mut self, range: Range<u64>) {
        let start = F::Input::from_raw(self.format.address(range.start));
        self.tlb.flush(start, range.end.saturating_sub(range.start));
    }
}
