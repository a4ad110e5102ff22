//! One file that boots: the loader in the format of an arm64 Linux Image, with kernel, extension, payload and the
//! payload's initrd behind it.
//!
//! U-Boot's `booti`, QEMU's `-kernel` and firmware that reads raw flash all start such a file at EL2 with a device tree.
//! [`pack`] makes one on the host; the loader itself is the program in this package, and what both need (the
//! archive, the memory plan, the edits of the device tree) is here, where it is tested.

#![no_std]

pub mod archive;
pub mod entropy;
#[cfg(not(target_os = "none"))]
pub mod pack;
pub mod plan;
pub mod tree;
pub mod uart;
