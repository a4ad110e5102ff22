//! The firmware's tables in the machine's memory, and the processors that they list.

use plinth_acpi::{Tables, pc};
use plinth_hal::{PhysicalMemory, Spa};

/// Calls `found` with the local APIC id of each processor that the firmware has enabled. Returns whether there is a list
/// at all.
pub fn processors(memory: &impl PhysicalMemory, rsdp: u64, found: impl FnMut(u32)) -> bool {
    tables(memory, rsdp).is_some_and(|tables| pc::processors(&tables, found))
}

/// The tables that the RSDP at `rsdp` leads to.
pub(crate) fn tables(memory: &impl PhysicalMemory, rsdp: u64) -> Option<Tables<impl Fn(u64, &mut [u8])>> {
    let read = |at, buffer: &mut [u8]| {
        if !memory.read_outside(Spa::new(at), buffer) {
            buffer.fill(0xff);
        }
    };
    Tables::new(read, rsdp)
}
