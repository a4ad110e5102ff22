//! Frames that are counted, and a TLB that keeps what it has seen until it is told to drop it.

use super::formats::{LEAF, MUTABLE, TABLE};
use super::std::cell::Cell;
use super::std::collections::BTreeMap;
use super::std::rc::Rc;
use super::std::vec::Vec;
use crate::OutOfFrames;
use crate::addr::{PAGE_SIZE, Spa};
use crate::page_table::{InputAddress, TableMemory, TlbSink};

const FIRST_FRAME: u64 = 0x8000_0000;
/// Entries of a frame that the test formats use.
const ENTRIES: usize = 4;

/// Table memory that checks how it is used.
pub(super) struct Memory {
    /// The entries of each frame, `None` where it is free.
    frames: Vec<Option<[u64; ENTRIES]>>,
    /// Tables unlinked, and how many flushes there had been then.
    unlinked: BTreeMap<u64, u64>,
    flushes: Rc<Cell<u64>>,
    careful: bool,
    /// How many frames are left to hand out.
    pub(super) budget: usize,
}

impl Memory {
    pub(super) fn new(careful: bool, flushes: Rc<Cell<u64>>) -> Self {
        Self { frames: Vec::new(), unlinked: BTreeMap::new(), flushes, careful, budget: usize::MAX }
    }

    /// Frames that are out.
    pub(super) fn in_use(&self) -> usize {
        self.frames.iter().flatten().count()
    }

    /// A run of free frames, aligned to its length.
    fn find_free(&mut self, count: usize) -> usize {
        let is_free = |frame: usize| self.frames.get(frame).is_none_or(Option::is_none);
        let mut runs = (0..).step_by(count);
        runs.find(|&first| (first..first + count).all(is_free)).unwrap()
    }

    /// Break-before-make: a live entry changes only its permissions.
    fn check_change(&self, old: u64, new: u64) {
        let live = old != 0 && new != 0;
        assert!(!(self.careful && live) || old & !MUTABLE == new & !MUTABLE, "{old:#x} became {new:#x}");
    }

    fn note_unlinked(&mut self, old: u64, new: u64) {
        if old & TABLE != 0 && old != new {
            self.unlinked.insert(old & !0xfff, self.flushes.get());
        }
    }
}

/// Which frame, and which entry of it: a concatenated root goes on into the frames that follow, and is
/// dense here as on hardware.
fn place(table: Spa, index: usize) -> (usize, usize) {
    let first = ((table.raw() - FIRST_FRAME) / PAGE_SIZE) as usize;
    (first + index / ENTRIES, index % ENTRIES)
}

impl TableMemory for Memory {
    fn allocate(&mut self, frames: usize) -> Result<Spa, OutOfFrames> {
        self.budget = self.budget.checked_sub(frames).ok_or(OutOfFrames)?;
        let first = self.find_free(frames);
        self.frames.resize(self.frames.len().max(first + frames), None);
        self.frames[first..first + frames].fill(Some([0; ENTRIES]));
        Ok(Spa::new(FIRST_FRAME + first as u64 * PAGE_SIZE))
    }

    fn free(&mut self, table: Spa, frames: usize) {
        if let Some(before) = self.unlinked.remove(&table.raw()) {
            assert!(self.flushes.get() > before, "{table} freed without a flush after it was unlinked");
        }
        let (first, _) = place(table, 0);
        for frame in &mut self.frames[first..first + frames] {
            assert!(frame.take().is_some(), "{table} freed twice");
        }
        self.budget = self.budget.saturating_add(frames);
    }

    fn read(&self, table: Spa, index: usize) -> u64 {
        let (frame, entry) = place(table, index);
        self.frames[frame].expect("a read of a free frame")[entry]
    }

    fn write(&mut self, table: Spa, index: usize, entry: u64) {
        let old = self.read(table, index);
        assert_ne!(entry & (TABLE | LEAF), TABLE | LEAF);
        self.check_change(old, entry);
        self.note_unlinked(old, entry);
        let (frame, place) = place(table, index);
        self.frames[frame].as_mut().expect("a write to a free frame")[place] = entry;
    }
}

/// A TLB of the worst kind: it holds every translation there ever was until a flush.
pub(super) struct Tlb {
    /// Raw input page to what it led to.
    pub(super) cached: BTreeMap<u64, super::model::Page>,
    pub(super) flushes: Rc<Cell<u64>>,
    /// The ranges flushed, in order.
    pub(super) log: Vec<(u64, u64)>,
}

impl Tlb {
    pub(super) fn new() -> Self {
        Self { cached: BTreeMap::new(), flushes: Rc::new(Cell::new(0)), log: Vec::new() }
    }
}

impl<I: InputAddress> TlbSink<I> for Tlb {
    fn flush(&mut self, start: I, size: u64) {
        let start = start.into_raw();
        let last = start + (size - 1);
        self.cached.retain(|&page, _| page < start || page > last);
        self.flushes.set(self.flushes.get() + 1);
        self.log.push((start, size));
    }
}
