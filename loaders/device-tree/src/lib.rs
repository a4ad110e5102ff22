//! What loaders and the ARMv8 backend read from a device tree: memory, reservations, files in memory, processors, firmware,
//! interrupt controller, console; and what a loader changes in it.
//!
//! Trees come from firmware and from SD cards, so any bytes must be bearable: [`Tree::new`] checks them once, and
//! what reads them afterwards cannot fail but by not finding what it looks for.

#![no_std]
#![forbid(unsafe_code)]

mod check;
mod console;
pub mod editor;
mod gic;
mod hypervisor;
mod memory;
mod modules;
mod place;
mod processors;
mod seeds;

pub use check::{Broken, total_size};
pub use gic::{Gic, REGIONS};
pub use hypervisor::{forget_hypervisor, name_hypervisor};
pub use modules::{Module, ModuleKind};
pub use processors::{Firmware, Processor, Startup, start_by_psci};

use dtoolkit::fdt::Fdt;

/// A checked device tree.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'a> {
    fdt: Fdt<'a>,
}

impl<'a> Tree<'a> {
    /// Checks `bytes`, which are one tree and nothing behind it.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Broken> {
        check::check(bytes)?;
        Ok(Self { fdt: Fdt::new_unchecked(bytes) })
    }

    /// The tree's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.fdt.data()
    }
}
