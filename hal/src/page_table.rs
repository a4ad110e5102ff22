//! The page-table engine: one for EPT, NPT, stage 2 and the host's own stage 1.
//!
//! Isolation is what these tables say, so there is one engine to review and to test, and what differs
//! between architectures is squeezed into a [`PtFormat`] of a few dozen pure lines. The engine:
//!
//! * never leaves a half-done operation: one that fails leaves every translation as it was;
//! * maps with the largest leaves that alignment and format allow, and splits one only where an edge
//!   of a range falls inside it;
//! * keeps no empty table but the root, so that a mapping costs frames only as long as it lives;
//! * tells the [`TlbSink`] what to flush at the moment it matters, and frees no table before.
//!
//! It reads and writes entries through [`TableMemory`], so it needs no unsafe code and runs on the host.
//!
//! Two uses of one table at a time are the caller's to exclude: `&mut self` does that within a PP, a
//! lock around the table does it between them. The walkers of the hardware may run all the while.

mod clear;
mod copy;
mod edit;
mod editor;
mod error;
mod format;
mod geometry;
mod map;
mod memory;
mod merge;
mod reclaim;
mod rewrite;
mod split;
mod view;

#[cfg(test)]
mod tests;

pub use error::MapError;
pub use format::{Attributes, Entry, InputAddress, MemoryType, Permissions, PtFormat};
pub use memory::{NotLoaded, PoolTables, TableMemory, TlbSink};
pub use view::Mapping;

use crate::OutOfFrames;
use crate::addr::Spa;
use geometry::Geometry;
use view::View;

/// A tree of page tables in the format `F`.
///
/// It owns its tables, but not the memory they lie in: give them back with [`PageTable::destroy`].
#[derive(Debug)]
pub struct PageTable<F> {
    root: Spa,
    format: F,
}

impl<F: PtFormat> PageTable<F> {
    /// An empty table that maps nothing.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`] when `memory` has none for the root.
    pub fn new<M: TableMemory>(memory: &mut M, format: F) -> Result<Self, OutOfFrames> {
        let root = memory.allocate(format.root_frames())?;
        Ok(Self { root, format })
    }

    /// Where the root table lies: what goes into CR3, nCR3, the EPT pointer or VTTBR_EL2.
    pub fn root(&self) -> Spa {
        self.root
    }

    /// The format of the entries.
    pub fn format(&self) -> &F {
        &self.format
    }

    /// What the input address `at` translates to, or `None` where nothing is mapped.
    #[inline]
    pub fn query<M: TableMemory>(&self, memory: &M, at: F::Input) -> Option<Mapping> {
        let offset = self.format.offset(at)?;
        View { root: self.root, format: &self.format, memory }.query(offset)
    }

    /// Frees every table. The caller has made sure that no PP uses them and that none has anything of
    /// them in its TLB or its paging-structure caches.
    pub fn destroy<M: TableMemory>(self, memory: &mut M) {
        let top = self.format.top();
        free_children(&self.format, memory, self.root, top);
        memory.free(self.root, self.format.root_frames());
    }
}

fn free_children<F: PtFormat, M: TableMemory>(format: &F, memory: &mut M, table: Spa, level: u8) {
    if level == 0 {
        return;
    }
    for index in 0..format.entries(level) {
        if let Entry::Table(child) = format.decode(memory.read(table, index), level) {
            free_children(format, memory, child, level - 1);
            memory.free(child, 1);
        }
    }
}
