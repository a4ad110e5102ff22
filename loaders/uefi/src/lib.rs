//! The part of the UEFI loader that thinks, apart from the part that talks to firmware.
//!
//! Everything here is ordinary safe code on bytes and strings: reading `plinth.toml`, the load options
//! and the firmware's boot entries, and planning where things go in memory. So it is tested on the
//! host; the application itself (`src/app`) exists only for UEFI targets.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod boot_option;
pub mod command;
pub mod config;
pub mod path;
