//! Physical memory, identity mapped.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_hal::{ExitFrame, PAGE_SIZE, PhysicalMemory, Spa, SpaRange};

use crate::exit_registers::ExitPage;

/// Physical memory on a machine whose kernel runs identity mapped: under the loader's tables before the launch, under
/// its own afterwards.
#[derive(Clone, Copy, Debug)]
pub struct IdentityMemory {
    pool: SpaRange,
    reservation: SpaRange,
    end: u64,
}

/// The words of a page. Atomics, because other processors and the hardware's walkers write there too.
pub type Words = [AtomicU64; PAGE_SIZE as usize / 8];

impl IdentityMemory {
    /// The exit page at a frame of the pool.
    pub(crate) fn exit_page(&self, frame: ExitFrame) -> Option<ExitPage> {
        self.page(frame.exit_frame_address()).map(ExitPage::new)
    }

    /// The words of a page of the pool, looked up once.
    #[inline]
    pub(crate) fn page(&self, frame: Spa) -> Option<&'static Words> {
        let offset = frame.raw().wrapping_sub(self.pool.start.raw());
        if offset >= self.pool.size & !(PAGE_SIZE - 1) || !frame.is_aligned(PAGE_SIZE) {
            return None;
        }
        // SAFETY: a whole page of the pool, mapped for ever by (2) of `new`; atomics may be shared with anybody.
        Some(unsafe { &*(frame.raw() as *const Words) })
    }

    /// Memory up to `end`. Of `reservation`, which is the hypervisor's, `pool` may be written; all else is the OS's.
    ///
    /// # Safety
    /// 1. All addresses from 4096 up to `end` are identity mapped and may be read as long as the value lives; those
    ///    outside `reservation` may be written once the kernel runs under its own tables, and hold no Rust object.
    /// 2. `pool` is page aligned, identity mapped for writing, and no Rust object lives in it but what the backend
    ///    places there by raw pointer.
    pub(crate) const unsafe fn new(pool: SpaRange, reservation: SpaRange, end: u64) -> Self {
        Self { pool, reservation, end }
    }

    fn readable(&self, at: Spa, size: u64) -> bool {
        at.raw() >= PAGE_SIZE && at.raw() <= self.end.saturating_sub(size)
    }

    fn writable(&self, at: Spa, size: u64) -> bool {
        self.pool.contains(at) && at.raw() - self.pool.start.raw() <= self.pool.size.saturating_sub(size)
    }
}

impl PhysicalMemory for IdentityMemory {
    #[inline]
    fn read_u64(&self, at: Spa) -> u64 {
        if !self.readable(at, 8) || !at.is_aligned(8) {
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
        // SAFETY: aligned, and inside the pool, which by (2) of `new` is mapped and holds no Rust object. The barrier
        // that the walkers need comes before each entry and each invalidation.
        unsafe { AtomicU64::from_ptr(at.raw() as *mut u64) }.store(value, Ordering::Release);
    }

    fn read_bytes(&self, at: Spa, buffer: &mut [u8]) {
        if !self.readable(at, buffer.len() as u64) {
            buffer.fill(0xff);
            return;
        }
        for (offset, byte) in buffer.iter_mut().enumerate() {
            // SAFETY: mapped by (1) of `new`; volatile, because others may write there meanwhile.
            *byte = unsafe { core::ptr::read_volatile((at.raw() as *const u8).add(offset)) };
        }
    }

    fn write_bytes(&self, at: Spa, bytes: &[u8]) {
        if !self.writable(at, bytes.len() as u64) {
            return;
        }
        // SAFETY: inside the pool, which by (2) of `new` is mapped and holds no Rust object; `bytes` is one, so
        // the two do not overlap. The extension's code comes this way, so the instruction side is told.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), at.raw() as *mut u8, bytes.len());
            crate::host::publish_code(at.raw(), bytes.len() as u64);
        }
    }

    fn write_outside(&self, at: Spa, bytes: &[u8]) {
        let size = bytes.len() as u64;
        if !self.readable(at, size) || self.reservation.overlaps(at, size) {
            return;
        }
        for (offset, byte) in bytes.iter().enumerate() {
            // SAFETY: mapped, and no Rust object, by (1) of `new`; volatile, because the OS uses it meanwhile.
            unsafe { core::ptr::write_volatile((at.raw() as *mut u8).add(offset), *byte) };
        }
        // SAFETY: the range has just been written. It may be code of the guest.
        unsafe { crate::host::publish_code(at.raw(), size) };
    }

    fn zero_page(&self, frame: Spa) {
        if frame.is_aligned(PAGE_SIZE) && self.writable(frame, PAGE_SIZE) {
            // SAFETY: as in `write_bytes`.
            unsafe { core::ptr::write_bytes(frame.raw() as *mut u8, 0, PAGE_SIZE as usize) };
        }
    }

    /// A guest without a translation of its own reads memory and not the caches (Arm ARM, B2.8).
    fn write_back(&self, at: Spa, size: u64) {
        if self.writable(at, size) {
            // SAFETY: inside the pool, which is mapped by (2) of `new`.
            unsafe { crate::host::clean_to_memory(at.raw(), size) };
        }
    }
}
