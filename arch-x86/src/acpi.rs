//! The machine's processors, as the firmware lists them.

use plinth_acpi::{Tables, pc};
use plinth_hal::{PhysicalMemory, Spa};

/// Calls `found` with the local APIC id of each processor that the firmware has enabled. Returns whether there is a list
/// at all.
pub fn processors(memory: &impl PhysicalMemory, rsdp: u64, found: impl FnMut(u32)) -> bool {
    let read = |at, buffer: &mut [u8]| {
        if !memory.read_outside(Spa::new(at), buffer) {
            buffer.fill(0xff);
        }
    };
    Tables::new(read, rsdp).is_some_and(|tables| pc::processors(&tables, found))
}
