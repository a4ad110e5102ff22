//! What the root VM's kernel asks of the example `guest-vm`: one hypercall.

#![no_std]

use plinth_extension_api::abi::SIGNATURE;

/// Runs a guest VM on this processor for a while: until it waits, until an interrupt of the root VM's comes, or to its end.
/// Result: [`RUNNING`] while it is not over; once it is, what it ended with, and the next call begins a new one;
/// [`FAILED`] where there can be none.
pub const RUN: u64 = SIGNATURE << 48 | 0x0003_0001;

/// The guest goes on with the next call.
pub const RUNNING: u64 = 1 << 16;

/// It could not be made, or did what nobody answers: the log says more.
pub const FAILED: u64 = u64::MAX;
