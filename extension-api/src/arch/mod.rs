//! The calling convention of each machine: how a system call is made and how a callback is entered.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

use crate::abi::Status;

/// What a call leaves behind.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Outcome {
    /// How it went.
    pub status: Status,
    /// REG0 and REG1.
    pub outputs: [u64; 2],
}
