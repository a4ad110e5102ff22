//! Deferred freeing of nested page tables.
//!
//! The page-table engine frees a table as soon as no entry refers to it. Other PPs may still hold the table
//! in their paging-structure caches, so the frame must not be reused before a TLB shootdown. This
//! [`FrameSource`] collects the tables that one operation frees. The caller frees the collected frames after
//! the shootdown.

use plinth_hal::{FrameSource, OutOfFrames, PhysicalMemory, Spa};

use crate::memory::frames::KernelFrames;
use crate::object::objects::MAX_VIEWS;

/// Room for the tables of two paths from each root of a VM. That is more than an operation on the two ends of
/// a range can free, or a merge within `MERGED` bytes of one root.
const ROOM: usize = 8 * (MAX_VIEWS + 1);

/// The kernel's frames, with deferred freeing.
pub(crate) struct DeferredFree<'a, 'p, M> {
    frames: &'a mut KernelFrames<'p, M>,
    tables: [Option<Spa>; ROOM],
}

impl<'a, 'p, M: PhysicalMemory> DeferredFree<'a, 'p, M> {
    pub(crate) fn new(frames: &'a mut KernelFrames<'p, M>) -> Self {
        Self { frames, tables: [None; ROOM] }
    }

    /// Whether the operation has freed no table.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.iter().all(Option::is_none)
    }

    /// The tables to free after the shootdown. Until then they belong to the kernel; a table that the caller
    /// does not free stays the kernel's for good.
    pub(crate) fn take(self) -> impl Iterator<Item = Spa> {
        self.tables.into_iter().flatten()
    }
}

impl<M: PhysicalMemory> FrameSource for DeferredFree<'_, '_, M> {
    fn allocate(&mut self, pages: usize) -> Result<Spa, OutOfFrames> {
        self.frames.allocate(pages)
    }

    fn free(&mut self, first: Spa, _pages: usize) {
        // Only a root has more than one frame, and no root is freed here.
        match self.tables.iter_mut().find(|table| table.is_none()) {
            Some(room) => *room = Some(first),
            None => log::error!("more page tables given back than one page can need: {first} is lost"),
        }
    }
}
