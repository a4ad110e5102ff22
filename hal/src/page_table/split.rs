//! Splitting large leaves, so that the ends of a range coincide with ends of leaves.

use super::editor::Editor;
use super::geometry::{Geometry, next_boundary};
use super::view::Slot;
use super::{Attributes, Entry, PtFormat, TableMemory, TlbSink};
use crate::OutOfFrames;
use crate::addr::Spa;
use core::ops::Range;

impl<F: PtFormat, M: TableMemory, T: TlbSink<F::Input>> Editor<'_, F, M, T> {
    /// Splits the leaves that cross an end of `range`. With attributes `new`, also splits the leaves within
    /// the range that are too large for these attributes. Undoes its splits if frames run out.
    pub(super) fn split(&mut self, range: Range<u64>, new: Option<Attributes>) -> Result<(), OutOfFrames> {
        let edges = self.split_edges(range.clone());
        let result = edges.and_then(|()| new.map_or(Ok(()), |new| self.split_for(range.clone(), new)));
        if result.is_err() {
            self.merge_along(range.start..range.end.saturating_add(1).min(self.format.input_end()));
        }
        result
    }

    /// Splits the leaves that cross an end of `range`.
    fn split_edges(&mut self, range: Range<u64>) -> Result<(), OutOfFrames> {
        self.split_at(range.start)?;
        self.split_at(range.end)
    }

    /// Splits the leaves within `range` that are too large for the attributes `new`.
    fn split_for(&mut self, range: Range<u64>, new: Attributes) -> Result<(), OutOfFrames> {
        let mut offset = range.start;
        while offset < range.end {
            let slot = self.view().probe(offset);
            match slot.entry {
                Entry::Leaf { spa, attributes } if !self.format.leaf_allowed(slot.level, new) => {
                    let child = self.split_leaf(slot.level, spa, attributes)?;
                    self.link(&slot, child, offset & !(F::span(slot.level) - 1));
                }
                _ => offset = next_boundary(offset, F::span(slot.level)),
            }
        }
        Ok(())
    }

    /// Splits the leaf that contains `offset` until a leaf starts at `offset`.
    fn split_at(&mut self, offset: u64) -> Result<(), OutOfFrames> {
        while offset < self.format.input_end() {
            let slot = self.view().probe(offset);
            let Entry::Leaf { spa, attributes } = slot.entry else { break };
            let start = offset & !(F::span(slot.level) - 1);
            if start == offset {
                break;
            }
            let child = self.split_leaf(slot.level, spa, attributes)?;
            self.link(&slot, child, start);
        }
        Ok(())
    }

    /// Allocates a table that maps the same as a leaf of `level`. The table is not linked yet.
    fn split_leaf(&mut self, level: u8, spa: Spa, attributes: Attributes) -> Result<Spa, OutOfFrames> {
        let child = self.memory.allocate(1)?;
        self.fill_split(child, F::below(level), spa, attributes);
        Ok(child)
    }

    /// Replaces the leaf in `slot`, which starts at `start`, by the table `child`.
    fn link(&mut self, slot: &Slot, child: Spa, start: u64) {
        let entry = self.format.table(child);
        self.replace(slot.table, slot.index, entry, start..start.saturating_add(F::span(slot.level)));
    }

    fn fill_split(&mut self, child: Spa, level: u8, spa: Spa, attributes: Attributes) {
        for index in 0..self.format.entries(level) {
            let part = spa.wrapping_add((index as u64).wrapping_mul(F::span(level)));
            self.memory.write(child, index, self.format.leaf(part, attributes, level));
        }
    }
}
