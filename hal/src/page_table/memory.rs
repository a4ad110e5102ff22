//! What the engine needs from its surroundings: memory for tables, and somebody who flushes TLBs.

use crate::addr::Spa;
use crate::{FrameSource, OutOfFrames, PhysicalMemory};

/// The frames that tables lie in.
///
/// The walkers of the hardware read the same memory: writes must reach them whole and in order, which
/// is why a backend writes an entry by one volatile or atomic 64-bit store, with the barrier and the cache
/// maintenance its architecture asks for.
pub trait TableMemory {
    /// Hands out `frames` consecutive frames full of zeroes, aligned to their total size. `frames` is 1,
    /// but for a concatenated root, where it is a higher power of two.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`]; nothing has changed then.
    fn allocate(&mut self, frames: usize) -> Result<Spa, OutOfFrames>;

    /// Takes back what one call of [`allocate`](Self::allocate) handed out.
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

/// Drops cached translations of one table, `I` being its input addresses.
pub trait TlbSink<I> {
    /// Returns when no PP can use a translation of `size` bytes from `start` on that was cached before the
    /// call, nor the paging-structure caches that lead to it. It may drop more than asked.
    fn flush(&mut self, start: I, size: u64);
}

/// The [`TlbSink`] of a table that no PP has loaded since its TLBs were last flushed: there is nothing
/// to drop.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotLoaded;

impl<I> TlbSink<I> for NotLoaded {
    fn flush(&mut self, _start: I, _size: u64) {}
}
