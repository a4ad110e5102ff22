//! Looking without touching.

use super::geometry::{Geometry, next_boundary};
use super::{Attributes, Entry, PtFormat, TableMemory};
use crate::addr::Spa;
use core::ops::Range;

/// What an input address translates to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Where the address itself leads, its offset within the leaf included.
    pub spa: Spa,
    /// What the leaf allows.
    pub attributes: Attributes,
    /// The bytes that the leaf covers.
    pub size: u64,
}

impl Mapping {
    /// The first input address behind the leaf, which translates `at`: a leaf's size is a power of two, and so is its
    /// alignment.
    #[must_use]
    pub const fn end(&self, at: u64) -> u64 {
        (at | self.size.wrapping_sub(1)).saturating_add(1)
    }
}

/// A table together with the memory that it lies in.
pub(super) struct View<'a, F, M> {
    pub(super) root: Spa,
    pub(super) format: &'a F,
    pub(super) memory: &'a M,
}

/// Where a walk ended.
pub(super) struct Slot {
    pub(super) table: Spa,
    pub(super) index: usize,
    pub(super) level: u8,
    pub(super) entry: Entry,
}

impl<F: PtFormat, M: TableMemory> View<'_, F, M> {
    /// Walks to the entry that decides about `offset`: a leaf or an empty one.
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

    /// The first offset in `range` whose entry is as `wanted`.
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
