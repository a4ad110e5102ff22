//! Plinth's loader for BIOS PCs.
//!
//! GRUB loads it with four modules: kernel, extension, payload and, if wanted, an initial RAM disk. It takes memory for
//! the hypervisor out of the map, launches, and then boots the payload, a Linux bzImage, as the root VM. A launch that
//! is refused is reported on the first serial port, and the payload boots without Plinth.

#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod app;

/// The loader is a program for the bare machine; on any other there is nothing to do.
#[cfg(not(target_os = "none"))]
fn main() {}
