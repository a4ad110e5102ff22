//! Merging tables back into large leaves.

use super::editor::Editor;
use super::geometry::{Geometry, next_boundary, pieces};
use super::{Attributes, Entry, PtFormat, TableMemory, TlbSink};
use crate::addr::Spa;
use core::ops::Range;

impl<F: PtFormat, M: TableMemory, T: TlbSink<F::Input>> Editor<'_, F, M, T> {
    /// Merges all tables within `range` that map one uniform stretch.
    pub(super) fn merge(&mut self, range: Range<u64>) {
        self.merge_table(self.root, self.format.top(), range);
    }

    fn merge_table(&mut self, table: Spa, level: u8, range: Range<u64>) {
        for piece in pieces(range, F::span(level)) {
            let index = self.format.index(piece.start, level);
            if let Entry::Table(child) = self.entry(table, index, level) {
                self.merge_table(child, F::below(level), piece.clone());
                self.merge_entry(table, index, child, level, piece);
            }
        }
    }

    /// Replaces `child` by one leaf, if a leaf can express the same mapping. Returns whether it did.
    fn merge_entry(&mut self, table: Spa, index: usize, child: Spa, level: u8, piece: Range<u64>) -> bool {
        let whole = piece.end.wrapping_sub(piece.start) == F::span(level);
        if !whole {
            return false;
        }
        if let Some((spa, attributes)) = self.uniform(child, F::below(level))
            && self.format.leaf_allowed(level, attributes)
        {
            let entry = self.format.leaf(spa, attributes, level);
            self.replace(table, index, entry, piece.clone());
            self.stale(piece);
            self.retire(child);
            return true;
        }
        false
    }

    /// Merges the tables on the path to each offset of `range`, even if a new leaf reaches beyond the range.
    pub(super) fn merge_along(&mut self, range: Range<u64>) {
        let mut offset = range.start;
        while offset < range.end {
            let seen = self.merge_to(self.root, self.format.top(), offset);
            offset = next_boundary(offset, seen);
        }
    }

    /// Merges on the path from `table` to `offset`. Returns the size of the aligned block around `offset`
    /// that is done.
    fn merge_to(&mut self, table: Spa, level: u8, offset: u64) -> u64 {
        let (index, span) = (self.format.index(offset, level), F::span(level));
        let Entry::Table(child) = self.entry(table, index, level) else { return span };
        let seen = if level > 1 { self.merge_to(child, F::below(level), offset) } else { span };
        let start = offset & !span.wrapping_sub(1);
        let merged = self.merge_entry(table, index, child, level, start..start.saturating_add(span));
        if merged { span } else { seen }
    }

    /// The output address and attributes of `table`, if it maps one aligned stretch with the same attributes
    /// throughout.
    fn uniform(&self, table: Spa, level: u8) -> Option<(Spa, Attributes)> {
        let Entry::Leaf { spa, attributes } = self.entry(table, 0, level) else { return None };
        let follows = |index: usize| {
            let part = spa.wrapping_add((index as u64).wrapping_mul(F::span(level)));
            self.entry(table, index, level) == Entry::Leaf { spa: part, attributes }
        };
        let entries = self.format.entries(level);
        (spa.is_aligned(F::span(level + 1)) && (1..entries).all(follows)).then_some((spa, attributes))
    }
}
