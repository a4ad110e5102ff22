//! Atomics and locks for state that PPs share.
//!
//! A build for the model checker (`--cfg loom`) uses loom's versions. Loom then runs each test once for every
//! order of accesses that the memory model allows.

#[cfg(not(loom))]
mod lock;
#[cfg(loom)]
mod model;

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::OutOfFrames;

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
#[cfg(not(loom))]
pub use lock::{Lock, LockGuard};

#[cfg(loom)]
pub(crate) use model::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Lock};

pub(crate) use core::sync::atomic::Ordering;

/// A lock is held by a PP that does not let it go: what it guards is out of reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockLost;

impl From<LockLost> for Error {
    fn from(_: LockLost) -> Self {
        Self::Unresponsive
    }
}

impl From<LockLost> for Failure {
    fn from(lost: LockLost) -> Self {
        Error::from(lost).into()
    }
}

impl From<LockLost> for OutOfFrames {
    fn from(_: LockLost) -> Self {
        Self
    }
}
