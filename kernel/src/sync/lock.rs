//! The kernel's spin lock, with a bounded wait.
//!
//! A PP holds a lock for a short piece of kernel code with interrupts disabled. Only a PP on which the kernel
//! has failed never releases it. The guarded value may then be half changed, so no other PP takes the lock
//! over: after a bounded wait each call that needs the lock fails with [`LockLost`]. A holder that was only
//! slow does release it, and then the lock works as before.

use core::any::type_name;
use core::sync::atomic::{AtomicBool, Ordering};

// BOUND: never waited for here but by `Lock`, which tries so many times.
use spin::Mutex;
// BOUND: as above.
pub use spin::MutexGuard as LockGuard;

use super::LockLost;

/// The number of attempts: some seconds on a real machine.
const TRIES: u32 = 1 << 28;

/// A value with exclusive access for one PP at a time.
#[derive(Debug)]
pub struct Lock<T> {
    mutex: Mutex<T>,
    /// A wait has failed, and no PP has acquired the lock since. Later waits try once.
    given_up: AtomicBool,
}

impl<T> Lock<T> {
    /// A lock that guards `value`.
    pub const fn new(value: T) -> Self {
        Self { mutex: Mutex::new(value), given_up: AtomicBool::new(false) }
    }

    /// Acquires the lock.
    ///
    /// # Errors
    /// [`LockLost`] if its holder does not release it.
    pub fn lock(&self) -> Result<LockGuard<'_, T>, LockLost> {
        self.lock_within(TRIES)
    }

    #[inline]
    fn lock_within(&self, tries: u32) -> Result<LockGuard<'_, T>, LockLost> {
        match self.mutex.try_lock() {
            Some(guard) => Ok(guard),
            None => self.wait(tries),
        }
    }

    #[cold]
    fn wait(&self, tries: u32) -> Result<LockGuard<'_, T>, LockLost> {
        let tries = if self.given_up.load(Ordering::Relaxed) { 1 } else { tries };
        // BOUND: `tries`.
        for _ in 0..tries {
            if let Some(guard) = self.mutex.try_lock() {
                self.given_up.store(false, Ordering::Relaxed);
                return Ok(guard);
            }
            core::hint::spin_loop();
        }
        if !self.given_up.swap(true, Ordering::Relaxed) {
            log::error!(
                "the lock of {} is held by a processor that does not let it go: what needs it fails",
                type_name::<T>()
            );
        }
        Err(LockLost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_it() {
        let lock = Lock::new(7);
        let guard = lock.lock().unwrap();
        assert!(lock.lock_within(10).is_err());
        drop(guard);
        *lock.lock().unwrap() += 1;
        assert_eq!(lock.lock().map(|value| *value), Ok(8));
    }

    #[test]
    fn a_lock_that_is_given_up_is_waited_for_no_more_until_it_is_free() {
        let lock = Lock::new(());
        let guard = lock.lock().unwrap();
        assert!(lock.lock_within(10).is_err());
        assert!(lock.lock_within(u32::MAX).is_err(), "at once");
        drop(guard);
        assert!(lock.lock().is_ok());
        assert!(!lock.given_up.load(Ordering::Relaxed) || lock.lock_within(1).is_ok());
    }
}
