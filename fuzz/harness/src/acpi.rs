//! ACPI's tables as the firmware left them in memory: whatever they say, the list of processors ends.

use std::cell::RefCell;

use plinth_arch_x86::acpi::processors;
use plinth_hal::{PhysicalMemory, Spa};

/// Where the input lies in memory, the root pointer first. All else reads as all ones.
pub const BASE: u64 = 0x1000;

thread_local! {
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A machine's memory with the input in it.
#[derive(Clone, Copy)]
struct Memory;

impl PhysicalMemory for Memory {
    fn read_u64(&self, at: Spa) -> u64 {
        let mut word = [0; 8];
        self.read_bytes(at, &mut word);
        u64::from_le_bytes(word)
    }

    fn read_bytes(&self, at: Spa, buffer: &mut [u8]) {
        let byte = |bytes: &[u8], offset: u64| {
            let place = at.raw().wrapping_add(offset).checked_sub(BASE)?;
            bytes.get(usize::try_from(place).ok()?).copied()
        };
        BYTES.with_borrow(|bytes| {
            buffer.iter_mut().zip(0..).for_each(|(slot, offset)| *slot = byte(bytes, offset).unwrap_or(0xFF));
        });
    }

    fn write_u64(&self, _: Spa, _: u64) {}

    fn write_bytes(&self, _: Spa, _: &[u8]) {}

    fn write_outside(&self, _: Spa, _: &[u8]) {}

    fn zero_page(&self, _: Spa) {}
}

/// Any tables: each processor that they list takes 8 bytes of them.
pub fn acpi(bytes: &[u8]) {
    let count = listed(bytes);
    assert!(count * 8 <= bytes.len(), "{count} processors in {} bytes", bytes.len());
}

/// How many processors the tables list.
pub fn listed(bytes: &[u8]) -> usize {
    BYTES.set(bytes.to_vec());
    let mut count = 0;
    processors(&Memory, BASE, |_| count += 1);
    count
}
