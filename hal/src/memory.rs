//! Physical memory as the kernel sees it.

use crate::addr::{Gpa, Spa};

/// There is no frame left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfFrames;

/// Reads and writes physical memory.
///
/// Writes reach only the pool that the loader gave to the kernel: no Rust object lives there, so a safe
/// write cannot break one. An implementation ignores writes elsewhere, and answers reads of memory that
/// does not exist with all ones.
pub trait PhysicalMemory: Copy + Send + Sync + 'static {
    /// Reads the aligned 64-bit word at `at`.
    fn read_u64(&self, at: Spa) -> u64;

    /// Writes the aligned 64-bit word at `at`, inside the pool.
    fn write_u64(&self, at: Spa, value: u64);

    /// Fills `buffer` from `at` on.
    fn read_bytes(&self, at: Spa, buffer: &mut [u8]);

    /// Writes `bytes` from `at` on, inside the pool.
    fn write_bytes(&self, at: Spa, bytes: &[u8]);

    /// Writes `bytes`, which do not cross a page, from `at` on, in memory that is not the hypervisor's: the root VM's.
    /// An implementation ignores writes to the hypervisor's reservation, and to memory that does not exist.
    fn write_outside(&self, at: Spa, bytes: &[u8]);

    /// Zeroes the whole page at `frame`, inside the pool.
    fn zero_page(&self, frame: Spa);

    /// Makes what was written to `size` bytes from `at` on, in the pool, be found by accesses that pass the caches by, where
    /// these are not kept coherent: a guest's own tables choose how it accesses its memory.
    fn write_back(&self, at: Spa, size: u64) {
        let _ = (at, size);
    }
}

/// Hands out frames: whole, zeroed pages of the pool.
pub trait FrameSource {
    /// `pages` contiguous zeroed frames.
    ///
    /// # Errors
    /// [`OutOfFrames`] where no such run is left.
    fn allocate(&mut self, pages: usize) -> Result<Spa, OutOfFrames>;

    /// Takes back what [`Self::allocate`] gave.
    fn free(&mut self, first: Spa, pages: usize);
}

/// The memory of a VM, read by guest-physical address.
pub trait GuestMemory {
    /// The aligned 64-bit word at `at`, or `None` where the VM has no memory.
    fn read_u64(&self, at: Gpa) -> Option<u64>;

    /// Fills `buffer`, which must not cross a page, from `at` on.
    ///
    /// Returns whether the VM has memory there.
    fn read_bytes(&self, at: Gpa, buffer: &mut [u8]) -> bool;
}
