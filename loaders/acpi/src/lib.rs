//! What loaders and backends read from ACPI's tables: the processors of a PC, and how it goes to sleep; of an Arm machine
//! without a device tree what one would say.
//!
//! The tables are the firmware's word, but a broken one must not break its reader: every length is checked, and what
//! makes no sense is not there. A table's checksum is not asked for, since there is firmware that gets it wrong;
//! the RSDP's is, because it is found by its address alone.

#![no_std]
#![forbid(unsafe_code)]

pub mod arm;
pub mod pc;
pub mod sleep;
mod tables;

pub use tables::{Entry, Table, Tables};

#[cfg(test)]
mod test_image;
