//! What the kernels of this package share: how they are started, and the memory that they find.
//!
//! They are bzImages (Linux, Documentation/arch/x86/boot.rst), so that Plinth's multiboot2 loader starts them as it starts
//! Linux, and GRUB does without Plinth. A PC's BIOS leaves the other processors alone: these kernels start them.

#![no_std]

pub mod boot_parameters;
mod entry;
mod panic;
pub mod real_mode;

use boot_parameters::BootParameters;

/// The addresses of the pages where code for real mode may lie: above what the BIOS uses, below what it reserves.
pub fn low_pages(memory: BootParameters) -> impl DoubleEndedIterator<Item = u64> {
    (0x10..0x9F).map(|page| page << 12).filter(move |page| memory.is_usable(*page, 4096))
}
