//! What the kernels of this package share: how they are started, and the memory that they find.
//!
//! They are bzImages (Linux, Documentation/arch/x86/boot.rst), so that Plinth's multiboot2 loader starts them as it starts
//! Linux, and GRUB does without Plinth. A PC's BIOS leaves the other processors alone: these kernels start them.

#![no_std]

pub mod boot_parameters;
mod entry;
mod panic;
