//! The page-table engine: one implementation for EPT, NPT, Arm stage 2 and the host's own stage 1.
//!
//! Isolation depends on the contents of these tables, so there is one engine to review and to test. A
//! [`PtFormat`] of a few dozen pure lines holds all differences between architectures. The engine guarantees:
//!
//! * An operation that fails leaves every translation unchanged.
//! * A mapping uses the largest leaves that alignment and format allow. The engine splits a leaf only if an
//!   edge of a range falls inside the leaf.
//! * No table stays empty except the root, so a mapping costs frames only while it exists.
//! * The engine names every range to invalidate to the [`TlbSink`], and frees a table only after the
//!   invalidation.
//!
//! The engine reads and writes entries through [`TableMemory`], so it needs no unsafe code and runs on the
//! host.
//!
//! The caller excludes two operations on one table at a time: `&mut self` does within a PP, a lock around the
//! table does between PPs. Hardware page walks may run at any time.

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
/// The value owns the tables but holds no reference to the memory; free them with [`PageTable::destroy`].
#[derive(Debug)]
pub struct PageTable<F> {
    root: Spa,
    format: F,
}

impl<F: PtFormat> PageTable<F> {
    /// Creates an empty tree, which maps nothing.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`] if `memory` has no frame for the root.
    pub fn new<M: TableMemory>(memory: &mut M, format: F) -> Result<Self, OutOfFrames> {
        let root = memory.allocate(format.root_frames())?;
        Ok(Self { root, format })
    }

    /// The address of the root table, for CR3, nCR3, the EPT pointer or VTTBR_EL2.
    pub fn root(&self) -> Spa {
        self.root
    }

    /// The format of the entries.
    pub fn format(&self) -> &F {
        &self.format
    }

    /// The translation of the input address `at`, or `None` if `at` is not mapped.
    #[inline]
    pub fn query<M: TableMemory>(&self, memory: &M, at: F::Input) -> Option<Mapping> {
        let offset = self.format.offset(at)?;
        View { root: self.root, format: &self.format, memory }.query(offset)
    }

    /// Frees every table. The caller guarantees that no PP uses the tables, and that no TLB or
    /// paging-structure cache holds an entry of them.
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
