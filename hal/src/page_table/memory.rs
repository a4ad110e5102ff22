//! The environment of the engine: memory for tables, and TLB invalidation.

use crate::addr::Spa;
use crate::{FrameSource, OutOfFrames, PhysicalMemory};

/// The frames of the tables.
///
/// Hardware page walks read the same memory, so each write must reach them whole and in order. A backend
/// therefore writes an entry by one volatile or atomic 64-bit store, with the barrier and the cache
/// maintenance that its architecture requires.
pub trait TableMemory {
    /// Allocates `frames` consecutive zeroed frames, aligned to their total size. `frames` is 1, or a higher
    /// power of two for a concatenated root.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`]; nothing has changed.
    fn allocate(&mut self, frames: usize) -> Result<Spa, OutOfFrames>;

    /// Frees the frames that one call of [`allocate`](Self::allocate) returned.
    fn free(&mut self, table: Spa, frames: usize);

    /// Reads the entry `index` of the table at `table`.
    fn read(&self, table: Spa, index: usize) -> u64;

    /// Writes the entry `index` of the table at `table`.
    fn write(&mut self, table: Spa, index: usize, entry: u64);
}

/// Tables in the kernel's pool: the usual [`TableMemory`].
#[derive(Debug)]
pub struct PoolTables<'a, P, S> {
    /// How the kernel reads and writes the pool.
    pub memory: P,
    /// Where the frames come from.
    pub frames: &'a mut S,
}

impl<P: PhysicalMemory, S: FrameSource> TableMemory for PoolTables<'_, P, S> {
    fn allocate(&mut self, frames: usize) -> Result<Spa, OutOfFrames> {
        self.frames.allocate(frames)
    }

    fn free(&mut self, table: Spa, frames: usize) {
        self.frames.free(table, frames);
    }

    #[inline]
    fn read(&self, table: Spa, index: usize) -> u64 {
        self.memory.read_u64(entry_address(table, index))
    }

    #[inline]
    fn write(&mut self, table: Spa, index: usize, entry: u64) {
        self.memory.write_u64(entry_address(table, index), entry);
    }
}

#[inline]
fn entry_address(table: Spa, index: usize) -> Spa {
    table.word(index as u64)
}

/// Invalidates cached translations of one table. `I` is the type of its input addresses.
pub trait TlbSink<I> {
    /// Invalidates the translations of `size` bytes from `start`, and the paging-structure cache entries on
    /// the path to them. Returns once no PP can use one that it cached before the call. May invalidate more
    /// than asked.
    fn flush(&mut self, start: I, size: u64);
}

/// The [`TlbSink`] of a table that no PP has used since its TLBs were last invalidated: there is nothing to
/// invalidate.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotLoaded;

impl<I> TlbSink<I> for NotLoaded {
    fn flush(&mut self, _start: I, _size: u64) {}
}
