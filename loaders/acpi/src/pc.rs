//! A PC's processors: the local APICs of the MADT (ACPI specification 6.5, 5.2.12).

use crate::{Entry, Tables};

/// Where the MADT's entries begin.
pub(crate) const MADT_ENTRIES: u64 = 44;
/// A processor's flags: it can be used.
const ENABLED: u32 = 1 << 0;

/// Calls `found` with the local APIC id of each processor that the firmware has enabled. Returns whether there is a list
/// at all.
pub fn processors<R: Fn(u64, &mut [u8])>(tables: &Tables<R>, found: impl FnMut(u32)) -> bool {
    let Some(table) = tables.find(b"APIC") else { return false };
    table.entries(MADT_ENTRIES).filter_map(|entry| local_apic(&entry)).for_each(found);
    true
}

/// The id in an entry that is about an enabled processor.
fn local_apic<R: Fn(u64, &mut [u8])>(entry: &Entry<'_, R>) -> Option<u32> {
    /// Processor local APIC.
    const XAPIC: u8 = 0;
    /// Processor local x2APIC.
    const X2APIC: u8 = 9;
    let table = &entry.table;
    let (id, flags, broadcast) = match entry.kind {
        XAPIC => (u32::from(table.byte(3)?), table.word(4)?, 0xFF),
        X2APIC => (table.word(4)?, table.word(8)?, u32::MAX),
        _ => return None,
    };
    (flags & ENABLED != 0 && id != broadcast).then_some(id)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::test_image::{Image, RSDP};

    /// Tables of a machine with the ids 0, 4 and 0x123; 5 is disabled.
    fn image(extended: bool) -> Image {
        let mut madt = std::vec![0; 8];
        madt.extend([0, 8, 0, 0, 1, 0, 0, 0]);
        madt.extend([1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        madt.extend([0, 8, 1, 4, 1, 0, 0, 0]);
        madt.extend([0, 8, 2, 5, 0, 0, 0, 0]);
        madt.extend([9, 16, 0, 0, 0x23, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        Image::new(extended, &[(b"FACP", &[]), (b"APIC", &madt)])
    }

    fn list(image: &Image, rsdp: u64) -> Option<Vec<u32>> {
        let mut ids = Vec::new();
        let tables = Tables::new(|at, buffer: &mut [u8]| image.read(at, buffer), rsdp)?;
        processors(&tables, |id| ids.push(id)).then_some(ids)
    }

    #[test]
    fn both_kinds_of_root_table_lead_to_the_processors() {
        for extended in [false, true] {
            assert_eq!(list(&image(extended), RSDP), Some(std::vec![0, 4, 0x123]), "{extended}");
        }
    }

    #[test]
    fn without_tables_there_is_no_list() {
        assert_eq!(list(&image(true), 0), None);
        assert_eq!(list(&image(true), RSDP + 8), None, "no RSDP there");
        assert_eq!(list(&image(true), u64::MAX - 3), None);
        assert_eq!(list(&Image::new(true, &[(b"FACP", &[])]), RSDP), None, "no MADT");
        let mut wrong = image(true);
        wrong.bytes[RSDP as usize + 9] ^= 1;
        assert_eq!(list(&wrong, RSDP), None, "a checksum that is wrong");
    }

    #[test]
    fn broken_tables_end_the_list() {
        let mut endless = image(true);
        let madt = endless.bytes.windows(4).position(|window| window == b"APIC").unwrap();
        endless.bytes[madt + 53] = 0;
        assert_eq!(list(&endless, RSDP), Some(std::vec![0]));
        for at in RSDP as usize..endless.bytes.len() {
            for value in [0, 0x7F, 0xFF] {
                let mut broken = image(true);
                broken.bytes[at] = value;
                broken.correct_rsdp();
                let _ = list(&broken, RSDP);
            }
        }
    }
}
