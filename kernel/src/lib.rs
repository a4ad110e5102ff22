//! Plinth's microkernel: mechanism for virtual machines, policy left to an unprivileged extension.
//!
//! The kernel owns frames, nested page tables, the hardware state of virtual processors and the
//! extension's address space. Everything that software in a VM does ends here only where isolation
//! hangs on it; the rest is handed to the extension by upcall.
//!
//! How it is built:
//!
//! 1. It is generic over [`plinth_hal::Arch`] and monomorphized for each backend.
//! 2. Each physical processor runs one loop ([`Kernel::run_pp`]) and owns what it works on: a virtual
//!    state that is active on a PP has been *taken out* of the shared table, so no exit takes a lock.
//! 3. Nothing is allocated but frames, nothing panics on a path that a guest or the extension can reach.

#![no_std]
#![forbid(unsafe_code)]

mod departure;
mod detached;
mod exits;
mod extension;
mod frames;
mod guest;
mod handle;
mod kernel;
pub mod logger;
mod lost;
mod mailbox;
mod memory_types;
mod nested;
mod objects;
pub mod options;
mod passthrough;
mod platform;
mod pp;
mod processors;
mod promotion;
mod reserved;
mod served;
mod space;
mod sync;
mod syscall;
mod text;
mod timer;
mod trace;
mod trapped;
mod user_epoch;
mod wait;
mod watchdog;

pub use frames::{FrameOwner, FramePool, MAX_FRAMES};
pub use kernel::{KERNEL_STACK_PAGES, Kernel, MAX_PPS, MAX_VMS, MAX_VPS, MAX_VSS};
pub use lost::{LostPp, last_words};
pub use platform::{Entry, Platform, PrepareError};
pub use pp::{Departure, PpResources};
#[cfg(not(loom))]
pub use sync::{Lock, LockGuard, LockLost};
pub use trapped::TrappedPages;
