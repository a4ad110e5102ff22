//! The atomics and locks of what PPs tell each other: the machine's. In a build for the model checker (`--cfg loom`) they are
//! loom's, under which a test runs once for each order of accesses that the memory model allows.

#[cfg(loom)]
mod model;

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
#[cfg(not(loom))]
pub(crate) use spin::Mutex;

#[cfg(loom)]
pub(crate) use model::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex};

pub(crate) use core::sync::atomic::Ordering;
