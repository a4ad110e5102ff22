//! Page tables that nothing links any more, but that a processor may still have cached.
//!
//! The page-table engine gives a table back as soon as nothing refers to it. While other PPs may hold it in
//! their paging-structure caches it must not become anything else, so what one operation gives back is
//! gathered here and freed by whoever has made sure that they have forgotten it.

use plinth_hal::{FrameSource, OutOfFrames, PhysicalMemory, Spa};

use crate::memory::frames::KernelFrames;
use crate::object::objects::MAX_VIEWS;

/// Room for the tables of two paths from each root of a VM: more than an operation on the two ends of a range, or merging
/// within [`crate::syscall::MERGED`] bytes of one root, can give back.
const ROOM: usize = 8 * (MAX_VIEWS + 1);

/// The kernel's frames, where freeing is put off.
pub(crate) struct Detached<'a, 'p, M> {
    frames: &'a mut KernelFrames<'p, M>,
    tables: [Option<Spa>; ROOM],
}

impl<'a, 'p, M: PhysicalMemory> Detached<'a, 'p, M> {
    pub(crate) fn new(frames: &'a mut KernelFrames<'p, M>) -> Self {
        Self { frames, tables: [None; ROOM] }
    }

    /// Whether a table was given back.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.iter().all(Option::is_none)
    }

    /// The tables that were given back, for reuse once no processor follows them. They are the kernel's until then: one that is
    /// not taken here stays so for ever.
    pub(crate) fn take(self) -> impl Iterator<Item = Spa> {
        self.tables.into_iter().flatten()
    }
}

impl<M: PhysicalMemory> FrameSource for Detached<'_, '_, M> {
    fn allocate(&mut self, pages: usize) -> Result<Spa, OutOfFrames> {
        self.frames.allocate(pages)
    }

    fn free(&mut self, first: Spa, _pages: usize) {
        // All but a root are single frames, and no root is given back here.
        match self.tables.iter_mut().find(|table| table.is_none()) {
            Some(room) => *room = Some(first),
            None => log::error!("more page tables given back than one page can need: {first} is lost"),
        }
    }
}
