//! The copy of the kernel's log in the OS's memory.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_kernel::logger::Mirror;

/// The memory, once it is known.
#[derive(Debug)]
pub struct LogCopy {
    /// Its address; 0 for none.
    place: AtomicU64,
}

impl LogCopy {
    /// None yet.
    pub const fn new() -> Self {
        Self { place: AtomicU64::new(0) }
    }

    /// Says where it is.
    ///
    /// # Safety
    /// From there on as many bytes as the log's copy takes are memory without a Rust object, 8-byte aligned, identity mapped for
    /// writing as long as the kernel logs.
    pub unsafe fn set_place(&self, place: u64) {
        self.place.store(place, Ordering::Release);
    }
}

impl Default for LogCopy {
    fn default() -> Self {
        Self::new()
    }
}

impl Mirror for LogCopy {
    fn set(&self, word: usize, value: u64) {
        let place = self.place.load(Ordering::Acquire);
        if place != 0 {
            let at = place.wrapping_add((word as u64).wrapping_mul(8));
            // SAFETY: a word of the copy, by the promise to `set_place`; an atomic, because the OS reads it meanwhile.
            unsafe { AtomicU64::from_ptr(at as *mut u64) }.store(value, Ordering::Release);
        }
    }
}
