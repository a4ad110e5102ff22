//! Physical memory, identity mapped.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_hal::{ExitFrame, PAGE_SIZE, PhysicalMemory, Spa, SpaRange};

use crate::exit_registers::ExitPage;

/// Bytes of the smallest cache line of a processor with 64-bit mode; longer lines are a multiple of it.
const SMALLEST_LINE: usize = 64;

/// A page as 64-bit words.
pub type Words = [AtomicU64; PAGE_SIZE as usize / 8];

/// Virtual address of the kernel's mapping of physical page 0; 0 before that mapping exists.
static PAGE_ZERO: AtomicU64 = AtomicU64::new(0);

/// Physical memory, which the kernel maps 1:1: with the firmware's page tables before the launch, with its
/// own ones afterwards.
#[derive(Clone, Copy, Debug)]
pub struct IdentityMemory {
    pool: SpaRange,
    reservation: SpaRange,
    /// Readable bytes from the second page on. A multiple of 8, so that the address of an aligned word alone
    /// tells whether the word is readable.
    span: u64,
}

impl IdentityMemory {
    /// Memory up to `end`. `reservation` is the hypervisor's memory, of which only `pool` is writable here.
    /// All other memory is the OS's.
    ///
    /// # Safety
    /// 1. All addresses from 4096 up to `end` are identity mapped and may be read as long as the value lives;
    ///    those outside `reservation` may be written once the kernel runs under its own tables, and hold no
    ///    Rust object. The same is true of page 0, by way of the window that `map_page_zero` names.
    /// 2. `pool` is page aligned, identity mapped for writing, and no Rust object lives in it but what the
    ///    backends place there by raw pointer.
    pub const unsafe fn new(pool: SpaRange, reservation: SpaRange, end: u64) -> Self {
        Self { pool, reservation, span: end.saturating_sub(PAGE_SIZE) & !7 }
    }

    /// The hypervisor's memory.
    pub fn reservation(&self) -> SpaRange {
        self.reservation
    }

    /// The exit page at a frame of the pool; `None` if the frame is not in the pool.
    pub fn exit_page(&self, frame: ExitFrame) -> Option<ExitPage> {
        let frame = frame.exit_frame_address();
        let offset = frame.raw().wrapping_sub(self.pool.start.raw());
        if offset >= self.pool.size & !(PAGE_SIZE - 1) || !frame.is_aligned(PAGE_SIZE) {
            return None;
        }
        // SAFETY: a whole page of the pool, mapped for ever by (2) of `new`; atomics may be shared with
        // anybody.
        let words: &'static Words = unsafe { &*(frame.raw() as *const Words) };
        Some(ExitPage::new(words))
    }

    #[inline]
    fn readable(&self, at: Spa, size: u64) -> bool {
        size <= self.span && at.raw().wrapping_sub(PAGE_SIZE) <= self.span - size
    }

    /// The virtual address of `size` bytes at `at`, outside of the pool; page 0 has a mapping of its own.
    /// Where the machine has no memory, the bus answers the access.
    #[inline]
    fn outside(&self, at: Spa, size: u64) -> Option<u64> {
        if self.readable(at, size) {
            return Some(at.raw());
        }
        self.in_page_zero(at, size)
    }

    #[cold]
    fn in_page_zero(&self, at: Spa, size: u64) -> Option<u64> {
        let window = PAGE_ZERO.load(Ordering::Relaxed);
        let inside = at.raw() < PAGE_SIZE && size <= PAGE_SIZE - at.raw();
        (inside && window != 0).then(|| window.wrapping_add(at.raw()))
    }

    #[inline]
    fn writable(&self, at: Spa, size: u64) -> bool {
        size <= self.pool.size && at.raw().wrapping_sub(self.pool.start.raw()) <= self.pool.size - size
    }
}

/// The `length` bytes, 8 at the most, from `at` on, as the low bytes of a word.
///
/// # Safety
/// They are mapped.
#[inline]
unsafe fn read_unaligned(at: u64, length: usize) -> u64 {
    let shift = at % 8 * 8;
    // SAFETY: an aligned word does not cross a page; this one holds the first byte.
    let low = unsafe { AtomicU64::from_ptr((at & !7) as *mut u64) }.load(Ordering::Relaxed) >> shift;
    if at % 8 + length as u64 <= 8 {
        return low;
    }
    // SAFETY: this one holds the last byte.
    let high = unsafe { AtomicU64::from_ptr((at & !7).wrapping_add(8) as *mut u64) }.load(Ordering::Relaxed);
    low | high << (64 - shift)
}

/// Writes what the caches hold of `size` bytes from `at` on back to memory: not every processor looks into
/// its caches for memory that it accesses uncached (Intel SDM vol. 3A, "Programming the PAT"). Instruction
/// caches are kept coherent.
///
/// # Safety
/// They are mapped.
unsafe fn flush_lines(at: u64, size: u64) {
    let first = at & !(SMALLEST_LINE as u64 - 1);
    for line in (first..at.saturating_add(size)).step_by(SMALLEST_LINE) {
        // SAFETY: a line that holds part of the range, which is mapped; the instruction changes no memory.
        unsafe { core::arch::asm!("clflush [{}]", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier, behind which the lines are written back.
    unsafe { core::arch::asm!("mfence", options(nostack, preserves_flags)) };
}

impl PhysicalMemory for IdentityMemory {
    #[inline]
    fn read_u64(&self, at: Spa) -> u64 {
        if at.raw().wrapping_sub(PAGE_SIZE) >= self.span || !at.is_aligned(8) {
            return u64::MAX;
        }
        // SAFETY: aligned and, by (1) of `new`, mapped; an atomic, because other processors and the
        // hardware's walkers write there too.
        unsafe { AtomicU64::from_ptr(at.raw() as *mut u64) }.load(Ordering::Relaxed)
    }

    #[inline]
    fn write_u64(&self, at: Spa, value: u64) {
        if !at.is_aligned(8) || !self.writable(at, 8) {
            return;
        }
        // SAFETY: aligned, and inside the pool, which by (2) of `new` is mapped and holds no Rust object.
        unsafe { AtomicU64::from_ptr(at.raw() as *mut u64) }.store(value, Ordering::Release);
    }

    fn read_bytes(&self, at: Spa, buffer: &mut [u8]) {
        if !self.writable(at, buffer.len() as u64) || !self.read_outside(at, buffer) {
            buffer.fill(0xff);
        }
    }

    fn write_bytes(&self, at: Spa, bytes: &[u8]) {
        if !self.writable(at, bytes.len() as u64) {
            return;
        }
        // SAFETY: inside the pool, which by (2) of `new` is mapped and holds no Rust object; `bytes` is one,
        // so the two do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), at.raw() as *mut u8, bytes.len()) };
    }

    #[inline]
    fn read_outside_u64(&self, at: Spa) -> Option<u64> {
        if !at.is_aligned(8) {
            return None;
        }
        // The start of an aligned word tells: see `span`.
        let in_span = at.raw().wrapping_sub(PAGE_SIZE) < self.span;
        let at = if in_span { at.raw() } else { self.in_page_zero(at, 8)? };
        // SAFETY: aligned and, by (1) of `new`, mapped; an atomic, because the OS writes there too.
        Some(unsafe { AtomicU64::from_ptr(at as *mut u64) }.load(Ordering::Relaxed))
    }

    fn read_outside(&self, at: Spa, buffer: &mut [u8]) -> bool {
        let Some(mut at) = self.outside(at, buffer.len() as u64) else { return false };
        for chunk in buffer.chunks_mut(8) {
            // SAFETY: the words that hold the chunk lie in pages that hold part of it, mapped by (1) of
            // `new`.
            let word = unsafe { read_unaligned(at, chunk.len()) };
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
            at = at.wrapping_add(8);
        }
        true
    }

    fn write_outside(&self, at: Spa, bytes: &[u8]) -> bool {
        let size = bytes.len() as u64;
        if self.reservation.overlaps(at, size) {
            return false;
        }
        let Some(at) = self.outside(at, size) else { return false };
        for (offset, byte) in bytes.iter().enumerate() {
            // SAFETY: mapped, and no Rust object, by (1) of `new`; volatile, because the OS uses it
            // meanwhile.
            unsafe { core::ptr::write_volatile((at as *mut u8).add(offset), *byte) };
        }
        // SAFETY: mapped by (1) of `new`.
        unsafe { flush_lines(at, size) };
        true
    }

    fn zero_page(&self, frame: Spa) {
        if frame.is_aligned(PAGE_SIZE) && self.writable(frame, PAGE_SIZE) {
            // SAFETY: as in `write_bytes`.
            unsafe { core::ptr::write_bytes(frame.raw() as *mut u8, 0, PAGE_SIZE as usize) };
        }
    }

    fn write_back(&self, at: Spa, size: u64) {
        if self.writable(at, size) {
            // SAFETY: inside the pool, which is mapped by (2) of `new`.
            unsafe { flush_lines(at.raw(), size) };
        }
    }

    fn map_page_zero(&self, window: Spa) {
        PAGE_ZERO.store(window.raw(), Ordering::Relaxed);
    }
}
