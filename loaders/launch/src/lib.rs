//! The launch contract: how every loader, whatever it is, hands the machine to the kernel.
//!
//! The loader reserves one contiguous piece of memory, loads the kernel image into its start, fills in
//! a [`LaunchInfo`] and calls the image's entry point once on every processor, one after the other,
//! the boot processor first. A call that returns `0` returns *as the root VM*: the caller goes on where
//! it was, now a guest. Any other value is a [`LaunchStatus`]: this processor was left as it was found. A call that comes on
//! x86 while another processor's has not returned is refused.
//!
//! All structures have a fixed layout; [`VERSION`] changes with it.

#![no_std]
#![forbid(unsafe_code)]

mod console;
pub mod el1;
pub mod el2_tables;
pub mod image;
mod info;
pub mod layout;
pub mod prepare;
mod status;

pub use console::*;
pub use info::*;
pub use status::*;
