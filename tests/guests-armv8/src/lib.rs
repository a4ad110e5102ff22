//! What the Armv8 test guests share: each is an arm64 Image that a loader starts as the payload, at EL1, with the
//! address of the device tree, and that checks from the inside what the hypervisor shows it.
//!
//! They run on the bare machine too, where they check what holds there: started at EL2 they go down to EL1 by
//! themselves. One line says what each check found, on the UART that the device tree names; at the end the machine is
//! switched off by PSCI, where there is one.

#![no_std]
#![cfg(target_arch = "aarch64")]

pub mod calls;
pub mod console;
pub mod driver;
pub mod entry;
pub mod gic;
pub mod machine;
pub mod mmu;
pub mod plinth;
pub mod report;
pub mod reserved;
pub mod scratch;
pub mod secondary;
pub mod stub;
pub mod system;
pub mod trap;
pub mod vectors;

pub use machine::Machine;
pub use report::Report;
