//! The machine's processors, as the firmware lists them: ACPI's MADT (ACPI specification 6.5, 5.2.5 to 5.2.8 and 5.2.12).
//!
//! The tables are the firmware's word, but a broken one must not break the kernel: every length is checked, and what makes
//! no sense ends the list.

use plinth_hal::{PhysicalMemory, Spa};

/// Bytes of the header that every table but the RSDP has.
const HEADER: u64 = 36;
/// The longest table that is believed.
const LONGEST: u32 = 1 << 20;
/// Where the MADT's entries begin.
const ENTRIES: u64 = 44;

/// A processor's flags: it can be used.
const ENABLED: u32 = 1 << 0;

/// A table by its address and its length.
#[derive(Clone, Copy, Debug)]
struct Table {
    start: u64,
    length: u64,
}

/// Calls `found` with the local APIC id of each processor that the firmware has enabled. Returns whether there is a list
/// at all.
pub fn processors(memory: &impl PhysicalMemory, rsdp: u64, mut found: impl FnMut(u32)) -> bool {
    let Some(table) = multiple_apic_table(memory, rsdp) else { return false };
    let mut at = ENTRIES;
    while at + 2 <= table.length {
        let [kind, length] = bytes(memory, table.start + at);
        if length < 2 || at + u64::from(length) > table.length {
            break;
        }
        if let Some(id) = local_apic(memory, table.start + at, kind, length) {
            found(id);
        }
        at += u64::from(length);
    }
    true
}

/// The id in an entry that is about an enabled processor.
fn local_apic(memory: &impl PhysicalMemory, at: u64, kind: u8, length: u8) -> Option<u32> {
    /// Processor local APIC.
    const XAPIC: u8 = 0;
    /// Processor local x2APIC.
    const X2APIC: u8 = 9;
    let (id, flags) = match (kind, length) {
        (XAPIC, 8..) => {
            let [id] = bytes(memory, at + 3);
            (u32::from(id), word(memory, at + 4))
        }
        (X2APIC, 16..) => (word(memory, at + 4), word(memory, at + 8)),
        _ => return None,
    };
    let broadcast = if kind == XAPIC { 0xFF } else { u32::MAX };
    (flags & ENABLED != 0 && id != broadcast).then_some(id)
}

fn multiple_apic_table(memory: &impl PhysicalMemory, rsdp: u64) -> Option<Table> {
    if rsdp == 0 || &bytes(memory, rsdp) != b"RSD PTR " {
        return None;
    }
    let [revision] = bytes(memory, rsdp + 15);
    let extended = if revision >= 2 { u64::from_le_bytes(bytes(memory, rsdp + 24)) } else { 0 };
    let (root, step) = if extended != 0 { (extended, 8) } else { (u64::from(word(memory, rsdp + 16)), 4) };
    let root = table(memory, root)?;
    let mut entries = (HEADER..root.length.saturating_sub(step - 1)).step_by(step as usize);
    entries.find_map(|at| {
        let entry: [u8; 8] = bytes(memory, root.start + at);
        let address = u64::from_le_bytes(entry) & if step == 8 { u64::MAX } else { 0xFFFF_FFFF };
        let found = table(memory, address)?;
        (&bytes(memory, address) == b"APIC").then_some(found)
    })
}

fn table(memory: &impl PhysicalMemory, start: u64) -> Option<Table> {
    // So far below the end that no offset within a table can overflow.
    if start == 0 || start > u64::MAX >> 1 {
        return None;
    }
    let length = word(memory, start + 4);
    (u64::from(length) >= HEADER && length <= LONGEST).then_some(Table { start, length: length.into() })
}

fn bytes<const N: usize>(memory: &impl PhysicalMemory, at: u64) -> [u8; N] {
    let mut buffer = [0; N];
    memory.read_bytes(Spa::new(at), &mut buffer);
    buffer
}

fn word(memory: &impl PhysicalMemory, at: u64) -> u32 {
    u32::from_le_bytes(bytes(memory, at))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::boxed::Box;
    use std::vec::Vec;

    use super::*;

    const RSDP: usize = 0x100;
    const ROOT: usize = 0x200;
    const OTHER: usize = 0x300;
    const MADT: usize = 0x400;

    #[derive(Clone, Copy)]
    struct Memory(&'static [u8]);

    impl PhysicalMemory for Memory {
        fn read_u64(&self, _: Spa) -> u64 {
            unreachable!("tables are read by the byte")
        }
        fn write_u64(&self, _: Spa, _: u64) {}
        fn read_bytes(&self, at: Spa, buffer: &mut [u8]) {
            let at = usize::try_from(at.raw()).unwrap_or(usize::MAX);
            match self.0.get(at..at.saturating_add(buffer.len())) {
                Some(there) => buffer.copy_from_slice(there),
                None => buffer.fill(0xFF),
            }
        }
        fn write_bytes(&self, _: Spa, _: &[u8]) {}
        fn write_outside(&self, _: Spa, _: &[u8]) {}
        fn zero_page(&self, _: Spa) {}
    }

    /// Tables of a machine with the ids 0, 4 and 0x123; 5 is disabled.
    fn image(extended: bool) -> Vec<u8> {
        let mut bytes = std::vec![0; 0x500];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(RSDP, b"RSD PTR ");
        put(RSDP + 15, &[if extended { 2 } else { 0 }]);
        let width = if extended { 8 } else { 4 };
        put(RSDP + if extended { 24 } else { 16 }, &(ROOT as u64).to_le_bytes()[..width]);
        put(ROOT + 4, &(36 + 2 * width as u32).to_le_bytes());
        for (index, table) in [OTHER, MADT].into_iter().enumerate() {
            put(ROOT + 36 + index * width, &(table as u64).to_le_bytes()[..width]);
        }
        put(OTHER, b"FACP");
        put(OTHER + 4, &36u32.to_le_bytes());
        put(MADT, b"APIC");
        put(MADT + 4, &(44 + 8 + 12 + 8 + 8 + 16u32).to_le_bytes());
        put(MADT + 44, &[0, 8, 0, 0, 1, 0, 0, 0]);
        put(MADT + 52, &[1, 12]);
        put(MADT + 64, &[0, 8, 1, 4, 1, 0, 0, 0]);
        put(MADT + 72, &[0, 8, 2, 5, 0, 0, 0, 0]);
        put(MADT + 80, &[9, 16, 0, 0, 0x23, 1, 0, 0, 1, 0, 0, 0]);
        bytes
    }

    fn list(image: Vec<u8>, rsdp: u64) -> Option<Vec<u32>> {
        let mut ids = Vec::new();
        let there = processors(&Memory(Box::leak(image.into_boxed_slice())), rsdp, |id| ids.push(id));
        there.then_some(ids)
    }

    #[test]
    fn both_kinds_of_root_table_lead_to_the_processors() {
        for extended in [false, true] {
            assert_eq!(list(image(extended), RSDP as u64), Some(std::vec![0, 4, 0x123]), "{extended}");
        }
    }

    #[test]
    fn without_tables_there_is_no_list() {
        assert_eq!(list(image(true), 0), None);
        assert_eq!(list(image(true), 0x108), None, "no RSDP there");
        assert_eq!(list(image(true), u64::MAX - 3), None);
        let mut without = image(true);
        without[MADT] = b'B';
        assert_eq!(list(without, RSDP as u64), None);
    }

    #[test]
    fn broken_tables_end_the_list() {
        let mut endless = image(true);
        endless[MADT + 53] = 0;
        assert_eq!(list(endless, RSDP as u64), Some(std::vec![0]));
        for at in (RSDP..RSDP + 36).chain(ROOT..ROOT + 52).chain(MADT..MADT + 96) {
            for value in [0, 0x7F, 0xFF] {
                let mut broken = image(true);
                broken[at] = value;
                let _ = list(broken, RSDP as u64);
            }
        }
    }
}
