//! What the test guests share: they are UEFI applications that run as (part of) the root VM and check from the
//! inside what the hypervisor shows them.
//!
//! Each says what it finds on the first serial port, one line for each check (see [`Report`]), and ends the
//! emulator through its exit device with [`report::PASSED`] or [`report::FAILED`]. On the bare machine they check what
//! holds there too, and say so.

#![no_std]

pub mod apic;
#[cfg(feature = "firmware")]
pub mod code;
pub mod cpu;
pub mod driver;
#[cfg(feature = "firmware")]
pub mod five_levels;
pub mod msrs;
pub mod plinth;
pub mod report;
#[cfg(feature = "firmware")]
pub mod reservation;
pub mod second;
pub mod serial;
pub mod storm;
pub mod timer;
pub mod trap;
pub mod virtualization;

pub use report::Report;
