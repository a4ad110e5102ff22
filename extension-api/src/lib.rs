//! What an extension is written with: the ABI ([`abi`]) and, on top of it, a safe API.
//!
//! An extension is a type that implements [`Extension`], a static of it, and [`extension!`], which makes the
//! program around it: entry point, callbacks, panic handler. The kernel calls [`Extension::vmexit`] whenever
//! a virtual machine does what the hypervisor has to see to; the answer is a [`Resume`]. Why it exited
//! and its general registers are in memory that kernel and extension share ([`Exit`]), so the usual answer
//! costs one system call, the one that goes on.
//!
//! What an extension does not care about it leaves to [`passthrough`], which answers as the bare machine would.
//! Logging is by the `log` crate.
//!
//! No floating point and no SIMD: extensions are built for a soft-float target (`x86_64-unknown-none`).

#![no_std]

pub mod abi;
pub mod arch;
mod event;
mod exit;
mod extension;
mod id;
mod logger;
pub mod passthrough;
mod per_pp;
mod plinth;
mod resume;
pub mod root;
#[doc(hidden)]
pub mod runtime;
pub mod syscall;

pub use abi::{Error, ExitClass, Failure, Groups};
pub use event::Event;
#[cfg(target_arch = "x86_64")]
pub use exit::Register;
pub use exit::{Exit, Fault, Id, IdValue};
pub use extension::{Extension, Pp};
pub use id::{ViewId, VmId, VpId, VsId};
pub use log;
pub use per_pp::{MAX_PPS, PerPp};
pub use plinth::{Mapping, Plinth};
pub use resume::Resume;
