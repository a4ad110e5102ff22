//! Memory that the operating system will never use.

use super::arch::RESERVATION_BELOW;
use super::error::Error;
use core::ptr::NonNull;
use plinth_launch::Range;
use plinth_launch::image::PAGE_SIZE;
use uefi::boot::{self, AllocateType, MemoryType};

/// What the reservation is aligned to, in bytes: one large page.
const ALIGNMENT: u64 = 2 << 20;

/// Pages of `EfiReservedMemoryType`, given back when dropped unless kept.
pub(crate) struct Pages {
    start: NonNull<u8>,
    count: usize,
}

impl Pages {
    /// One page below 1 MiB.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn low() -> Result<Self, Error> {
        Self::allocate(AllocateType::MaxAddress((1 << 20) - 1), 1)
    }

    /// `mib` MiB in one piece, 2 MiB aligned.
    pub(crate) fn reservation(mib: u32) -> Result<Self, Error> {
        let size = u64::from(mib) << 20;
        let whole = Self::allocate(AllocateType::MaxAddress(RESERVATION_BELOW), pages(size + ALIGNMENT))?;
        let start = whole.range().start;
        let head = pages(start.next_multiple_of(ALIGNMENT) - start);
        let (_, rest) = whole.split(head);
        let (aligned, _) = rest.split(pages(size));
        Ok(aligned)
    }

    pub(crate) fn range(&self) -> Range {
        Range { start: self.start.as_ptr() as u64, size: self.count as u64 * PAGE_SIZE }
    }

    /// All of it.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: The firmware gave these pages to this application alone, and maps all memory readable and writable at its own
        // address. `Pages` is the only way to them and is borrowed as long as the slice lives. Any bytes are valid `u8`.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.range().size as usize) }
    }

    /// Leaves the pages reserved for ever.
    pub(crate) fn keep(self) {
        core::mem::forget(self);
    }

    fn allocate(place: AllocateType, count: usize) -> Result<Self, Error> {
        let failed = |error: uefi::Error| Error::NoMemory {
            kib: count as u64 * PAGE_SIZE / 1024,
            status: error.status(),
        };
        let start = boot::allocate_pages(place, MemoryType::RESERVED, count).map_err(failed)?;
        Ok(Self { start, count })
    }

    /// Divides the pages behind the first `count`.
    fn split(self, count: usize) -> (Self, Self) {
        let head = Self { start: self.start, count };
        // SAFETY: `count` is at most the number of pages of this one allocation, so the result stays inside it, or at its end.
        let start = unsafe { self.start.add(count * PAGE_SIZE as usize) };
        let tail = Self { start, count: self.count - count };
        core::mem::forget(self);
        (head, tail)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        // SAFETY: These pages are this value's own (firmware frees parts of an allocation as well as all of it), and
        // every reference into them borrowed it. Whoever let a kernel have them keeps or frees them knowing that.
        let freed = unsafe { boot::free_pages(self.start, self.count) };
        // A firmware that refuses to take its memory back has merely less of it.
        let _ = freed;
    }
}

/// Whole pages in `size` bytes.
fn pages(size: u64) -> usize {
    (size / PAGE_SIZE) as usize
}
