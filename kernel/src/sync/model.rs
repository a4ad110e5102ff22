//! Loom's atomics and locks, with what the kernel needs and they lack: a constant makes them, and `SeqCst` means what it
//! says.
//!
//! Loom takes a `SeqCst` access for an acquiring and releasing one; only its fences are what they should be. So two
//! `SeqCst` accesses of a thread have a fence between them. No other access has: one that is weaker than its protocol
//! needs stays weak, and a model shows it.

extern crate std;

use core::cell::Cell;
use core::sync::atomic::Ordering;
use std::sync::OnceLock;

use loom::sync;
use loom::sync::atomic::{self, fence};

use super::LockLost;

loom::thread_local! {
    /// The thread's last `SeqCst` access has no fence behind it yet.
    static OPEN: Cell<bool> = Cell::new(false);
}

/// Before an access: the fence behind an earlier one. A weaker store is not ordered by a fence that comes after it, and
/// so there is none across one: the model is weaker than the machine there.
fn before(ordering: Ordering, stores: bool) {
    let sequential = ordering == Ordering::SeqCst;
    let closes = sequential || stores;
    if closes && OPEN.with(|open| open.replace(false)) && sequential {
        fence(Ordering::SeqCst);
    }
}

fn after(ordering: Ordering) {
    if ordering == Ordering::SeqCst {
        OPEN.with(|open| open.set(true));
    }
}

macro_rules! atomics {
    ($($name:ident: $value:ty;)*) => {$(
        /// The core library's, under loom.
        pub(crate) struct $name {
            initial: $value,
            atomic: OnceLock<atomic::$name>,
        }

        #[allow(dead_code, reason = "none needs all of them")]
        impl $name {
            pub(crate) const fn new(initial: $value) -> Self {
                Self { initial, atomic: OnceLock::new() }
            }

            fn access<T>(&self, ordering: Ordering, stores: bool, access: impl FnOnce(&atomic::$name) -> T) -> T {
                before(ordering, stores);
                let result = access(self.atomic.get_or_init(|| atomic::$name::new(self.initial)));
                after(ordering);
                result
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $value {
                self.access(ordering, false, |atomic| atomic.load(ordering))
            }

            pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                self.access(ordering, true, |atomic| atomic.store(value, ordering));
            }

            pub(crate) fn swap(&self, value: $value, ordering: Ordering) -> $value {
                self.access(ordering, true, |atomic| atomic.swap(value, ordering))
            }

            pub(crate) fn fetch_or(&self, value: $value, ordering: Ordering) -> $value {
                self.access(ordering, true, |atomic| atomic.fetch_or(value, ordering))
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.access(success, true, |atomic| atomic.compare_exchange(current, new, success, failure))
            }
        }
    )*};
}

atomics! {
    AtomicBool: bool;
    AtomicU8: u8;
    AtomicU32: u32;
    AtomicU64: u64;
}

impl AtomicU64 {
    pub(crate) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
        self.access(ordering, true, |atomic| atomic.fetch_add(value, ordering))
    }
}

/// The kernel's lock, under loom: nobody holds it for ever.
pub(crate) struct Lock<T> {
    initial: std::sync::Mutex<Option<T>>,
    mutex: OnceLock<sync::Mutex<T>>,
}

impl<T> Lock<T> {
    pub(crate) const fn new(initial: T) -> Self {
        Self { initial: std::sync::Mutex::new(Some(initial)), mutex: OnceLock::new() }
    }

    pub(crate) fn lock(&self) -> Result<sync::MutexGuard<'_, T>, LockLost> {
        let make = || {
            let initial = self.initial.lock().unwrap().take();
            sync::Mutex::new(initial.expect("a lock is made once"))
        };
        Ok(self.mutex.get_or_init(make).lock().unwrap())
    }
}
