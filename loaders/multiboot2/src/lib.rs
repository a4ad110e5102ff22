//! The parts of the multiboot2 loader that are about bytes, not about the machine: GRUB's boot information, the
//! memory map, and Linux's boot protocol.

#![no_std]
#![forbid(unsafe_code)]

pub mod boot_info;
pub mod linux;
pub mod memory_map;
pub mod options;
