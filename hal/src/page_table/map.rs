//! Filling a range with leaves.

use super::editor::Editor;
use super::geometry::{Geometry, pieces};
use super::{Attributes, Entry, PtFormat, TableMemory, TlbSink};
use crate::OutOfFrames;
use crate::addr::Spa;
use core::ops::Range;

/// A range of input offsets, its output address and its attributes.
#[derive(Clone)]
struct Stretch {
    range: Range<u64>,
    spa: Spa,
    attributes: Attributes,
}

impl Stretch {
    /// The sub-range `range` of the stretch, with its output address.
    fn part(&self, range: Range<u64>) -> Self {
        let spa = self.spa.wrapping_add(range.start.wrapping_sub(self.range.start));
        Self { range, spa, attributes: self.attributes }
    }

    /// Whether one leaf of `span` bytes maps the stretch exactly.
    fn fits(&self, span: u64) -> bool {
        self.range.end - self.range.start == span && self.spa.is_aligned(span)
    }
}

impl<F: PtFormat, M: TableMemory, T: TlbSink<F::Input>> Editor<'_, F, M, T> {
    /// Maps `range`, which is free. Clears the range again if frames run out.
    pub(super) fn fill_or_clear(
        &mut self,
        range: Range<u64>,
        spa: Spa,
        attributes: Attributes,
    ) -> Result<(), OutOfFrames> {
        let stretch = Stretch { range: range.clone(), spa, attributes };
        let result = self.fill(self.root, self.format.top(), &stretch);
        if result.is_err() {
            self.clear(range);
        }
        result
    }

    fn fill(&mut self, table: Spa, level: u8, stretch: &Stretch) -> Result<(), OutOfFrames> {
        let span = F::span(level);
        for piece in pieces(stretch.range.clone(), span) {
            let part = stretch.part(piece);
            let index = self.format.index(part.range.start, level);
            if level == 0 || (part.fits(span) && self.format.leaf_allowed(level, part.attributes)) {
                self.fill_entry(table, index, level, &part);
            } else {
                let child = self.child(table, index, level)?;
                self.fill(child, F::below(level), &part)?;
            }
        }
        Ok(())
    }

    fn fill_entry(&mut self, table: Spa, index: usize, level: u8, part: &Stretch) {
        let entry = self.format.leaf(part.spa, part.attributes, level);
        self.memory.write(table, index, entry);
    }

    /// The table that the entry refers to. Allocates a table if the entry is empty. The entry is not a leaf.
    fn child(&mut self, table: Spa, index: usize, level: u8) -> Result<Spa, OutOfFrames> {
        if let Entry::Table(child) = self.entry(table, index, level) {
            return Ok(child);
        }
        let child = self.memory.allocate(1)?;
        self.memory.write(table, index, self.format.table(child));
        Ok(child)
    }
}
