//! Physical memory: the kernel's pool, everything outside it, and the memory of a VM.

use crate::addr::{Gpa, Spa};

/// The pool has no free frame, or no free run of the length asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfFrames;

/// Reads and writes physical memory.
///
/// The trait distinguishes two kinds of memory. The *pool* is the memory that the loader reserved for the
/// kernel to hand out. No Rust object lives in the pool, so a safe write cannot corrupt one. A caller that
/// accesses a frame of the pool holds what keeps the frame from being freed and reused. All other addresses
/// are *outside*: they belong to the root VM, as far as they are memory at all.
///
/// What counts as memory outside depends on the machine's description. A device tree names all memory, so the
/// backend refuses an access to a hole, a device or the firmware's own memory before it makes the access. On
/// x86 the memory map names no devices: every address below the end of the map counts as memory. A read that
/// no device answers returns all ones, and such a write has no effect. No access outside the pool faults in
/// the kernel.
pub trait PhysicalMemory: Copy + Send + Sync + 'static {
    /// Reads the aligned 64-bit word at `at` in the pool. For another address an implementation returns all
    /// ones or the word that is there.
    fn read_u64(&self, at: Spa) -> u64;

    /// Writes the aligned 64-bit word at `at` in the pool. An implementation ignores a write to another
    /// address.
    fn write_u64(&self, at: Spa, value: u64);

    /// Reads `buffer.len()` bytes from `at` in the pool. For another address an implementation returns all
    /// ones.
    fn read_bytes(&self, at: Spa, buffer: &mut [u8]);

    /// Writes `bytes` to `at` in the pool. An implementation ignores a write to another address.
    fn write_bytes(&self, at: Spa, bytes: &[u8]);

    /// Reads the aligned 64-bit word at `at` outside the pool. Returns `None` if the address is not memory.
    fn read_outside_u64(&self, at: Spa) -> Option<u64>;

    /// Reads `buffer.len()` bytes from `at` outside the pool, within one page. Returns whether the address is
    /// memory.
    #[must_use]
    fn read_outside(&self, at: Spa, buffer: &mut [u8]) -> bool;

    /// Writes `bytes` to `at` outside the pool, within one page. The write reaches the level at which the
    /// guest's own accesses look: memory, and the point of unification for instruction fetches. Returns
    /// whether the address is memory. An implementation refuses the hypervisor's reservation.
    #[must_use]
    fn write_outside(&self, at: Spa, bytes: &[u8]) -> bool;

    /// Zeroes the whole page at `frame` in the pool.
    fn zero_page(&self, frame: Spa);

    /// Cleans the data cache for `size` bytes at `at` in the pool, and makes the bytes visible to instruction
    /// fetches, where the hardware does not keep these coherent. A guest chooses by its own page tables
    /// whether its accesses are cached, so its uncached accesses must find the bytes too.
    fn write_back(&self, at: Spa, size: u64);

    /// Sets the address at which the kernel's tables map physical page 0. Virtual page 0 stays unmapped, so
    /// that a null pointer faults in the kernel; an access to physical page 0 goes through `window`, a page
    /// in the pool's address range. The kernel calls it once, while it builds the host tables.
    fn map_page_zero(&self, window: Spa);
}

/// Allocates frames: whole, zeroed pages of the pool.
pub trait FrameSource {
    /// Allocates `pages` contiguous zeroed frames.
    ///
    /// # Errors
    /// [`OutOfFrames`] if no free run is long enough.
    fn allocate(&mut self, pages: usize) -> Result<Spa, OutOfFrames>;

    /// Frees `pages` frames from `first` on, which [`Self::allocate`] returned.
    fn free(&mut self, first: Spa, pages: usize);
}

/// The memory of a VM, addressed by guest-physical address. Read-only.
pub trait GuestMemory {
    /// Reads the aligned 64-bit word at `at`. Returns `None` if the VM has no memory there that the kernel
    /// can read.
    fn read_u64(&self, at: Gpa) -> Option<u64>;

    /// Reads `buffer.len()` bytes from `at`, within one page. Returns whether the VM has memory there.
    fn read_bytes(&self, at: Gpa, buffer: &mut [u8]) -> bool;
}
