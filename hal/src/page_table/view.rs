//! Read-only walks of a tree.

use super::geometry::{Geometry, next_boundary};
use super::{Attributes, Entry, PtFormat, TableMemory};
use crate::addr::Spa;
use core::ops::Range;

/// The translation of an input address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The output address of the input address itself, including the offset within the leaf.
    pub spa: Spa,
    /// The attributes of the leaf.
    pub attributes: Attributes,
    /// The size of the leaf in bytes.
    pub size: u64,
}

impl Mapping {
    /// The first input address after the leaf that translates `at`. A leaf is aligned to its size, a power of
    /// two.
    #[must_use]
    pub const fn end(&self, at: u64) -> u64 {
        (at | self.size.wrapping_sub(1)).saturating_add(1)
    }
}

/// A tree together with its memory, for reading.
pub(super) struct View<'a, F, M> {
    pub(super) root: Spa,
    pub(super) format: &'a F,
    pub(super) memory: &'a M,
}

/// The entry at which a walk ended.
pub(super) struct Slot {
    pub(super) table: Spa,
    pub(super) index: usize,
    pub(super) level: u8,
    pub(super) entry: Entry,
}

impl<F: PtFormat, M: TableMemory> View<'_, F, M> {
    /// Walks to the leaf or the empty entry that translates `offset`.
    #[inline]
    pub(super) fn probe(&self, offset: u64) -> Slot {
        let mut level = self.format.top();
        let mut table = self.root;
        loop {
            let index = self.format.index(offset, level);
            match self.format.decode(self.memory.read(table, index), level) {
                Entry::Table(child) if level > 0 => table = child,
                entry => return Slot { table, index, level, entry },
            }
            level -= 1;
        }
    }

    #[inline]
    pub(super) fn query(&self, offset: u64) -> Option<Mapping> {
        let slot = self.probe(offset);
        let Entry::Leaf { spa, attributes } = slot.entry else { return None };
        let size = F::span(slot.level);
        Some(Mapping { spa: Spa::new(spa.raw() | (offset & (size - 1))), attributes, size })
    }

    /// The first offset in `range` whose entry satisfies `wanted`.
    pub(super) fn find(&self, range: Range<u64>, wanted: impl Fn(Entry) -> bool) -> Option<u64> {
        let mut offset = range.start;
        while offset < range.end {
            let slot = self.probe(offset);
            if wanted(slot.entry) {
                return Some(offset);
            }
            offset = next_boundary(offset, F::span(slot.level));
        }
        None
    }
}
