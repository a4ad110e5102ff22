//! Physical memory, identity mapped.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_hal::{ExitFrame, PAGE_SIZE, PhysicalMemory, Spa, SpaRange};

use crate::cache::{clean_to_memory, publish_code};
use crate::exit_registers::ExitPage;
use crate::guarded;
use crate::machine::ram_map::RAM_MAP;

/// Physical memory, identity mapped: under the loader's page tables before the launch, under the kernel's own afterwards.
#[derive(Clone, Copy, Debug)]
pub struct IdentityMemory {
    pool: SpaRange,
    reservation: SpaRange,
}

/// The words of a page: atomics, because other CPUs and the hardware's table walkers access them too.
pub type Words = [AtomicU64; PAGE_SIZE as usize / 8];

/// The address at which the kernel's tables map page 0; 0 until then.
static PAGE_ZERO: AtomicU64 = AtomicU64::new(0);

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

    /// Of `reservation`, which is the hypervisor's, `pool` may be written; outside, what [`RAM_MAP`] has is the OS's memory.
    ///
    /// # Safety
    /// 1. Once the kernel runs under its own tables, all addresses from 4096 on that [`RAM_MAP`] has are identity mapped and
    ///    may be accessed as long as the value lives; page 0, where [`RAM_MAP`] has it, by way of the window that
    ///    `map_page_zero` names. No Rust object is there outside `reservation`. Before that nobody accesses what is outside.
    /// 2. `pool` is page aligned, identity mapped for writing, and no Rust object lives in it but what the backend
    ///    places there by raw pointer.
    pub(crate) const unsafe fn new(pool: SpaRange, reservation: SpaRange) -> Self {
        Self { pool, reservation }
    }

    /// The mapped address of `size` bytes at `at`, within one page, if they are RAM of the OS.
    fn outside(&self, at: Spa, size: u64) -> Option<u64> {
        if !RAM_MAP.holds(at, size) || self.reservation.overlaps(at, size) {
            return None;
        }
        if at.raw() >= PAGE_SIZE {
            return Some(at.raw());
        }
        let window = PAGE_ZERO.load(Ordering::Relaxed);
        (window != 0).then(|| window.wrapping_add(at.raw()))
    }

    fn writable(&self, at: Spa, size: u64) -> bool {
        self.pool.contains(at)
            && at.raw().wrapping_sub(self.pool.start.raw()) <= self.pool.size.saturating_sub(size)
    }
}

impl PhysicalMemory for IdentityMemory {
    #[inline]
    fn read_u64(&self, at: Spa) -> u64 {
        if !at.is_aligned(8) || !self.writable(at, 8) {
            return u64::MAX;
        }
        // SAFETY: aligned and inside the pool, which by (2) of `new` is mapped; an atomic, because other processors and the
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
        if !self.writable(at, buffer.len() as u64) {
            buffer.fill(0xff);
            return;
        }
        for (offset, byte) in buffer.iter_mut().enumerate() {
            // SAFETY: inside the pool, which by (2) of `new` is mapped; volatile, because others may write there meanwhile.
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
            publish_code(at.raw(), bytes.len() as u64);
        }
    }

    fn read_outside_u64(&self, at: Spa) -> Option<u64> {
        let at = self.outside(at, 8).filter(|at| at.is_multiple_of(8))?;
        // SAFETY: aligned and, by (1) of `new`, mapped.
        unsafe { guarded::read_u64(at) }
    }

    fn read_outside(&self, at: Spa, buffer: &mut [u8]) -> bool {
        let Some(at) = self.outside(at, buffer.len() as u64) else { return false };
        (at..=u64::MAX).zip(buffer).all(|(at, byte)| {
            // SAFETY: mapped by (1) of `new`.
            let read = unsafe { guarded::read_u8(at) };
            *byte = read.unwrap_or(0xff);
            read.is_some()
        })
    }

    fn write_outside(&self, at: Spa, bytes: &[u8]) -> bool {
        let size = bytes.len() as u64;
        let Some(at) = self.outside(at, size) else { return false };
        // SAFETY: mapped, and no Rust object, by (1) of `new`.
        let written = (at..=u64::MAX).zip(bytes).all(|(at, byte)| unsafe { guarded::write_u8(at, *byte) });
        if written {
            // SAFETY: the range has just been written. It may be code of the guest, which may run without caches.
            unsafe {
                publish_code(at, size);
                clean_to_memory(at, size);
            }
        }
        written
    }

    fn zero_page(&self, frame: Spa) {
        if frame.is_aligned(PAGE_SIZE) && self.writable(frame, PAGE_SIZE) {
            // SAFETY: as in `write_bytes`.
            unsafe { core::ptr::write_bytes(frame.raw() as *mut u8, 0, PAGE_SIZE as usize) };
        }
    }

    /// Cleans and invalidates the data caches: a guest with its stage 1 off reads memory past the caches (Arm ARM, B2.8).
    /// Also invalidates the instruction cache, which may hold instructions of the frame's previous owner.
    fn write_back(&self, at: Spa, size: u64) {
        if self.writable(at, size) {
            // SAFETY: inside the pool, which is mapped by (2) of `new`.
            unsafe {
                clean_to_memory(at.raw(), size);
                publish_code(at.raw(), size);
            }
        }
    }

    fn map_page_zero(&self, window: Spa) {
        PAGE_ZERO.store(window.raw(), Ordering::Relaxed);
    }
}
