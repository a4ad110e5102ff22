//! The copy of the kernel's log in the OS's memory.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_kernel::logger::Mirror;

/// The memory, once it is known.
#[derive(Debug)]
pub(crate) struct LogCopy {
    /// Its address; 0 for none.
    place: AtomicU64,
}

impl LogCopy {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self { place: AtomicU64::new(0) }
    }

    /// Says where it is.
    ///
    /// # Safety
    /// From there on as many bytes as the log's copy takes are memory of no Rust object but atomics, 8-byte aligned, identity mapped
    /// for writing as long as the kernel logs.
    pub(crate) unsafe fn set_place(&self, place: u64) {
        self.place.store(place, Ordering::Release);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_their_place_and_nowhere_before_it_is_known() {
        let copy = LogCopy::new();
        copy.set(0, 1);
        let memory = [const { AtomicU64::new(0) }; 3];
        // SAFETY: the words are atomics, which outlive the copy's last write, and only these are set.
        unsafe { copy.set_place(memory.as_ptr() as u64) };
        copy.set(0, 7);
        copy.set(2, 9);
        let words = memory.each_ref().map(|word| word.load(Ordering::Relaxed));
        assert_eq!(words, [7, 0, 9]);
    }
}
