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

mod extension;
mod hypercall;
mod ipi;
mod kernel;
mod launch;
mod limits;
mod memory;
mod object;
mod pp;
mod report;
mod sync;
mod syscall;

pub use kernel::Kernel;
pub use launch::options;
pub use launch::platform::{Entry, Platform, PpResources, PrepareError};
pub use limits::{KERNEL_STACK_PAGES, MAX_PPS, MAX_VMS, MAX_VPS, MAX_VSS};
pub use memory::frames::{FrameOwner, FramePool, MAX_FRAMES};
pub use memory::trapped::TrappedPages;
pub use pp::Departure;
pub use report::crash::{LostPp, last_words};
pub use report::logger;
#[cfg(not(loom))]
pub use sync::{Lock, LockGuard, LockLost};
