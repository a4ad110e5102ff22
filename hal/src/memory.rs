//! Physical memory as the kernel sees it.

use crate::addr::{Gpa, Spa};

/// There is no frame left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfFrames;

/// Reads and writes physical memory.
///
/// There are two kinds. The *pool* is what the loader gave to the kernel to hand out: no Rust object lives there, so a safe
/// write cannot break one. Whoever accesses a frame of the pool holds what keeps it from being freed and handed on. All
/// else is *outside*: the root VM's, as far as it is memory at all.
///
/// Outside is memory what the machine's description calls so. Where it tells (a device tree does), holes, devices and what
/// the firmware keeps for itself are none, and an access there is refused before it is made. Where it does not tell (x86), all
/// addresses below the end of the memory map count, and the bus answers what nobody else does: ones, and writes vanish.
/// No access outside faults in the kernel.
pub trait PhysicalMemory: Copy + Send + Sync + 'static {
    /// Reads the aligned 64-bit word at `at`, inside the pool. An implementation answers all ones elsewhere, or what is there.
    fn read_u64(&self, at: Spa) -> u64;

    /// Writes the aligned 64-bit word at `at`, inside the pool. An implementation ignores it elsewhere.
    fn write_u64(&self, at: Spa, value: u64);

    /// Fills `buffer` from `at` on, inside the pool. An implementation fills in ones elsewhere.
    fn read_bytes(&self, at: Spa, buffer: &mut [u8]);

    /// Writes `bytes` from `at` on, inside the pool. An implementation ignores it elsewhere.
    fn write_bytes(&self, at: Spa, bytes: &[u8]);

    /// Reads the aligned 64-bit word at `at`, outside; `None` where that is no memory.
    fn read_outside_u64(&self, at: Spa) -> Option<u64>;

    /// Fills `buffer`, which does not cross a page, from `at` on, outside. Returns whether that is memory.
    #[must_use]
    fn read_outside(&self, at: Spa, buffer: &mut [u8]) -> bool;

    /// Writes `bytes`, which do not cross a page, from `at` on, outside, as far down as the guest's own accesses look: to
    /// memory, and to what is fetched as code. Returns whether that is memory; an implementation refuses the hypervisor's
    /// reservation.
    #[must_use]
    fn write_outside(&self, at: Spa, bytes: &[u8]) -> bool;

    /// Zeroes the whole page at `frame`, inside the pool.
    fn zero_page(&self, frame: Spa);

    /// Makes what was written to `size` bytes from `at` on, in the pool, be found by accesses that pass the caches by, and
    /// by instruction fetches, where these are not kept coherent: a guest's own tables choose how it accesses its memory.
    fn write_back(&self, at: Spa, size: u64);

    /// Says where the kernel's tables map page 0. Its own address stays unmapped, so that a null pointer of the kernel's
    /// faults; accesses outside find it at `window`, a page of the pool's addresses. Called once, while the tables are made.
    fn map_page_zero(&self, window: Spa);
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
    /// The aligned 64-bit word at `at`, or `None` where the VM has no memory that the kernel can read.
    fn read_u64(&self, at: Gpa) -> Option<u64>;

    /// Fills `buffer`, which must not cross a page, from `at` on.
    ///
    /// Returns whether the VM has memory there.
    fn read_bytes(&self, at: Gpa, buffer: &mut [u8]) -> bool;
}
