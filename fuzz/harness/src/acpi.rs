//! ACPI's tables as the firmware left them in memory: whatever they say, what is read from them is an answer.

use plinth_acpi::{Tables, pc, sleep};

/// Where the input lies in memory, the root pointer first. All else reads as ones.
pub const BASE: u64 = 0x1000;
/// Bytes that the root pointer's checksum is about, and where it stands in them.
const CHECKED: usize = 20;
const CHECKSUM: usize = 8;

/// Any tables behind a root pointer with the right checksum, which would stop all else. Each processor that they list
/// takes 8 bytes of them.
pub fn acpi(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    correct(&mut bytes);
    let count = processors(&bytes);
    assert!(count * 8 <= bytes.len(), "{count} processors in {} bytes", bytes.len());
    if let Some(tables) = Tables::new(|at, buffer: &mut [u8]| read(&bytes, at, buffer), BASE) {
        let _ = sleep::registers(&tables);
        let _ = (tables.affinities().count(), tables.gic(), tables.conduit(), tables.console());
    }
}

/// How many processors a PC's tables list.
pub fn processors(bytes: &[u8]) -> usize {
    let mut count = 0;
    if let Some(tables) = Tables::new(|at, buffer: &mut [u8]| read(bytes, at, buffer), BASE) {
        pc::processors(&tables, |_| count += 1);
    }
    count
}

/// Makes the root pointer's checksum right.
pub fn correct(bytes: &mut [u8]) {
    if let Some(pointer) = bytes.get_mut(..CHECKED) {
        pointer[CHECKSUM] = 0;
        pointer[CHECKSUM] = pointer.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    }
}

fn read(bytes: &[u8], at: u64, buffer: &mut [u8]) {
    let byte = |offset: u64| {
        let place = at.wrapping_add(offset).checked_sub(BASE)?;
        bytes.get(usize::try_from(place).ok()?).copied()
    };
    buffer.iter_mut().zip(0..).for_each(|(slot, offset)| *slot = byte(offset).unwrap_or(0xFF));
}
