//! The state of one modifying operation.

use super::geometry::Geometry;
use super::reclaim::Reclaim;
use super::view::View;
use super::{Entry, InputAddress, PageTable, PtFormat, TableMemory, TlbSink};
use crate::addr::Spa;
use core::ops::Range;

/// One modifying operation under way. It ends by [`finish`](Self::finish).
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

    /// Notes that `range` has to be flushed before the operation ends.
    pub(super) fn stale(&mut self, range: Range<u64>) {
        self.reclaim.mark(range);
    }

    /// Frees `table`, which nothing refers to any more, after what is stale has been flushed.
    pub(super) fn retire(&mut self, table: Spa) {
        if !self.reclaim.push(table) {
            self.settle();
            // There is room now.
            self.reclaim.push(table);
        }
    }

    /// Replaces a live entry by one of another size, address or memory type that covers `range`.
    pub(super) fn replace(&mut self, table: Spa, index: usize, entry: u64, range: Range<u64>) {
        if F::BREAK_BEFORE_MAKE {
            self.memory.write(table, index, 0);
            self.flush(range);
        } else {
            self.stale(range);
        }
        self.memory.write(table, index, entry);
    }

    /// Flushes and frees what has gathered.
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
