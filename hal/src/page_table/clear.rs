//! Clearing a range, and unlinking the tables that become empty.

use super::editor::Editor;
use super::geometry::{Geometry, pieces};
use super::{Entry, PtFormat, TableMemory, TlbSink};
use crate::addr::Spa;
use core::ops::Range;

impl<F: PtFormat, M: TableMemory, T: TlbSink<F::Input>> Editor<'_, F, M, T> {
    /// Clears `range`. The caller has split every leaf that crosses an end of the range.
    pub(super) fn clear(&mut self, range: Range<u64>) {
        self.clear_table(self.root, self.format.top(), range);
    }

    fn clear_table(&mut self, table: Spa, level: u8, range: Range<u64>) {
        for piece in pieces(range, F::span(level)) {
            let index = self.format.index(piece.start, level);
            match self.entry(table, index, level) {
                Entry::Empty => {}
                Entry::Leaf { .. } => self.clear_entry(table, index, piece),
                Entry::Table(child) => {
                    self.clear_child(child, F::below(level), piece.clone());
                    self.prune(table, index, child, level, piece);
                }
            }
        }
    }

    fn clear_entry(&mut self, table: Spa, index: usize, range: Range<u64>) {
        self.memory.write(table, index, 0);
        self.stale(range);
    }

    /// Clears `piece` of `child`. Does nothing if the piece covers all of `child`: the caller then unlinks
    /// the whole table.
    fn clear_child(&mut self, child: Spa, level: u8, piece: Range<u64>) {
        if piece.end - piece.start < F::span(level + 1) {
            self.clear_table(child, level, piece);
        }
    }

    /// Unlinks and retires `child` if it is empty or covered by `piece`.
    fn prune(&mut self, table: Spa, index: usize, child: Spa, level: u8, piece: Range<u64>) {
        let span = F::span(level);
        let whole = piece.end - piece.start == span;
        if whole || self.is_empty(child, F::below(level)) {
            let start = piece.start & !(span - 1);
            self.clear_entry(table, index, start..start + span);
            self.retire_tree(child, F::below(level));
        }
    }

    fn is_empty(&self, table: Spa, level: u8) -> bool {
        (0..self.format.entries(level)).all(|index| self.entry(table, index, level) == Entry::Empty)
    }

    /// Retires an unlinked table and all tables below it.
    fn retire_tree(&mut self, table: Spa, level: u8) {
        for index in (0..self.format.entries(level)).take_while(|_| level > 0) {
            if let Entry::Table(child) = self.entry(table, index, level) {
                self.retire_tree(child, F::below(level));
            }
        }
        self.retire(table);
    }
}
