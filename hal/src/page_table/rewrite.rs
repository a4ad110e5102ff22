//! Changing the attributes of mapped ranges.

use super::editor::Editor;
use super::geometry::{Geometry, pieces};
use super::{Attributes, Entry, PtFormat, TableMemory, TlbSink};
use crate::OutOfFrames;
use crate::addr::Spa;
use core::ops::Range;

impl<F: PtFormat, M: TableMemory, T: TlbSink<F::Input>> Editor<'_, F, M, T> {
    /// Sets the attributes of `range`, which is mapped. Splits and invalidates only if some attribute
    /// changes.
    pub(super) fn protect(&mut self, range: Range<u64>, new: Attributes) -> Result<(), OutOfFrames> {
        if self.prepare_protect(range.clone(), new)? {
            self.rewrite_table(self.root, self.format.top(), range, new);
        }
        Ok(())
    }

    /// Splits the leaves that [`Self::protect`] needs split. Returns whether any attribute changes.
    pub(super) fn prepare_protect(
        &mut self,
        range: Range<u64>,
        new: Attributes,
    ) -> Result<bool, OutOfFrames> {
        if self.view().find(range.clone(), |entry| differs(entry, new)).is_none() {
            return Ok(false);
        }
        self.split(range, Some(new)).map(|()| true)
    }

    fn rewrite_table(&mut self, table: Spa, level: u8, range: Range<u64>, new: Attributes) {
        for piece in pieces(range, F::span(level)) {
            let index = self.format.index(piece.start, level);
            match self.entry(table, index, level) {
                Entry::Empty => {}
                Entry::Table(child) => self.rewrite_table(child, F::below(level), piece, new),
                Entry::Leaf { spa, attributes } if attributes != new => {
                    let entry = self.format.leaf(spa, new, level);
                    self.rewrite_leaf(table, index, entry, piece, attributes.memory != new.memory);
                }
                Entry::Leaf { .. } => {}
            }
        }
    }

    /// Writes a leaf with new permissions, and with a new memory type if `retyped`.
    fn rewrite_leaf(&mut self, table: Spa, index: usize, entry: u64, range: Range<u64>, retyped: bool) {
        if retyped {
            self.replace(table, index, entry, range);
        } else {
            self.memory.write(table, index, entry);
            self.stale(range);
        }
    }
}

fn differs(entry: Entry, new: Attributes) -> bool {
    matches!(entry, Entry::Leaf { attributes, .. } if attributes != new)
}
