//! The formats, alone and under the engine.

extern crate std;

use crate::{EptCapabilities, EptFormat, KernelFormat, NptFormat, UserFormat};
use plinth_hal::page_table::{
    Attributes, Entry, InputAddress, MapError, MemoryType, NotLoaded, PageTable, Permissions, PtFormat,
    TableMemory,
};
use plinth_hal::{Gpa, OutOfFrames, Spa, UserVa};
use std::vec::Vec;

const TYPES: [MemoryType; 5] = [
    MemoryType::WriteBack,
    MemoryType::Uncached,
    MemoryType::WriteCombining,
    MemoryType::WriteThrough,
    MemoryType::WriteProtected,
];
const EPT: EptCapabilities = EptCapabilities { execute_only: true, large_leaves: true, giant_leaves: true };

/// All that a format supports comes back from every level as it went in.
fn round_trip<F: PtFormat>(format: &F) {
    let mut supported = 0;
    for permissions in (0..16).map(Permissions::from_bits_truncate) {
        for attributes in TYPES.map(|memory| Attributes::new(permissions, memory)) {
            if format.supports(attributes) {
                supported += 1;
                (0..3).for_each(|level| leaf_round_trip(format, attributes, level));
            }
        }
    }
    assert!(supported >= 20);
    for level in 1..4 {
        let table = Spa::new(0x000f_ffff_ffff_f000);
        assert_eq!(format.decode(format.table(table), level), Entry::Table(table));
    }
    assert!((0..4).all(|level| format.decode(0, level) == Entry::Empty));
}

fn leaf_round_trip<F: PtFormat>(format: &F, attributes: Attributes, level: u8) {
    for spa in [0, 0x000f_ffff_c000_0000].map(Spa::new) {
        let entry = format.leaf(spa, attributes, level);
        assert_eq!(format.decode(entry, level), Entry::Leaf { spa, attributes }, "level {level}");
    }
}

#[test]
fn round_trips() {
    round_trip(&NptFormat::new(true, 48));
    round_trip(&NptFormat::new(true, 48).with_five_levels(true));
    round_trip(&KernelFormat::new(true, 48).with_five_levels(true));
    round_trip(&KernelFormat::new(true, 48));
    round_trip(&EptFormat::new(EPT, 48));
}

#[test]
fn bits_are_those_of_the_manuals() {
    let npt = NptFormat::new(true, 48);
    let rw = Permissions::READ | Permissions::WRITE;
    let all = rw | Permissions::EXECUTE;
    let spa = Spa::new(0x4000_0000);
    let entry = |permissions, memory, level| npt.leaf(spa, Attributes::new(permissions, memory), level);
    assert_eq!(entry(all, MemoryType::WriteBack, 0), 0x4000_0067);
    assert_eq!(entry(rw, MemoryType::WriteBack, 1), 0x8000_0000_4000_00e7);
    assert_eq!(entry(all, MemoryType::Uncached, 0), 0x4000_007f);
    assert_eq!(entry(all, MemoryType::WriteCombining, 0), 0x4000_00ff);
    assert_eq!(entry(all, MemoryType::WriteCombining, 2), 0x4000_10ff);
    let ept = EptFormat::new(EPT, 48);
    assert_eq!(ept.leaf(spa, Attributes::new(all, MemoryType::WriteBack), 1), 0x4000_00b7);
    assert_eq!(ept.leaf(spa, Attributes::new(rw, MemoryType::Uncached), 0), 0x4000_0003);
    let user = UserFormat::new(false, 48);
    let data = Attributes::new(rw | Permissions::USER, MemoryType::WriteBack);
    assert_eq!(user.leaf(spa, data, 0), 0x8000_0000_4000_0067);
}

/// Each of the memory types names a PAT entry that holds it (SDM vol. 3A, "Page Attribute Table": 0 UC,
/// 1 WC, 4 WT, 5 WP, 6 WB).
#[test]
fn the_pat_holds_what_entries_name() {
    for (memory, code) in TYPES.into_iter().zip([6, 0, 1, 4, 5]) {
        let attributes = Attributes::new(Permissions::READ, memory);
        let entry = NptFormat::new(true, 48).leaf(Spa::new(0), attributes, 0);
        let index = (entry >> 3 & 3) | (entry >> 7 & 1) << 2;
        assert_eq!(crate::PAT >> (8 * index) & 0xff, code, "{memory:?}");
    }
}

#[test]
fn unsupported_attributes_are_refused() {
    let npt = NptFormat::new(true, 48);
    let attributes = |permissions| Attributes::new(permissions, MemoryType::WriteBack);
    assert!(!npt.supports(attributes(Permissions::WRITE)));
    assert!(!npt.supports(attributes(Permissions::READ | Permissions::USER)));
    let plain = EptFormat::new(EptCapabilities { execute_only: false, ..EPT }, 48);
    assert!(!plain.supports(attributes(Permissions::EXECUTE)));
    assert!(!EptFormat::new(EPT, 48).supports(attributes(Permissions::WRITE)));
    assert!(EptFormat::new(EPT, 48).supports(attributes(Permissions::EXECUTE)));
}

/// No entry that the format makes is a misconfiguration (SDM vol. 3C, "EPT Misconfigurations"): that exit cannot be caused
/// from outside, whatever an extension maps.
#[test]
fn no_ept_entry_is_a_misconfiguration() {
    for execute_only in [false, true] {
        let format = EptFormat::new(EptCapabilities { execute_only, ..EPT }, 40);
        let spa = Spa::new(0xFF_4000_0000);
        for (bits, memory) in (0..8).flat_map(|bits| TYPES.map(|memory| (bits, memory))) {
            let attributes = Attributes::new(Permissions::from_bits_truncate(bits), memory);
            if !format.supports(attributes) {
                continue;
            }
            for level in 0..3 {
                let entry = format.leaf(spa, attributes, level);
                let (read, write, execute) = (entry & 1 != 0, entry & 2 != 0, entry & 4 != 0);
                assert!(read || !write, "writable but not readable: {entry:#x}");
                assert!(read || !execute || execute_only, "execute-only without the capability: {entry:#x}");
                assert!(!matches!(entry >> 3 & 7, 2 | 3 | 7), "a reserved memory type: {entry:#x}");
                assert_eq!(entry & 0x000F_FF00_0000_0000, 0, "beyond the address width: {entry:#x}");
                assert_eq!(entry >> 7 & 1 != 0, level > 0, "the size bit: {entry:#x}");
            }
        }
        assert_eq!(format.table(spa) & 0xF8, 0, "reserved bits of a table's entry");
    }
}

/// Frames in a vector, the frame at 4096 · n being `self.0[n]`.
struct Frames(Vec<[u64; 512]>);

impl TableMemory for Frames {
    fn allocate(&mut self, frames: usize) -> Result<Spa, OutOfFrames> {
        assert_eq!(frames, 1);
        self.0.push([0; 512]);
        Ok(Spa::new((self.0.len() as u64 - 1) << 12))
    }

    fn free(&mut self, _table: Spa, _frames: usize) {}

    fn read(&self, table: Spa, index: usize) -> u64 {
        self.0[(table.raw() >> 12) as usize][index]
    }

    fn write(&mut self, table: Spa, index: usize, entry: u64) {
        self.0[(table.raw() >> 12) as usize][index] = entry;
    }
}

const GIB: u64 = 1 << 30;

/// The sizes of the leaves that `format` gives to 2 GiB + 2 MiB + 4 KiB at 1 GiB, from end to start.
fn leaves<F: PtFormat>(format: F) -> [u64; 3] {
    let mut memory = Frames(Vec::new());
    let mut table = PageTable::new(&mut memory, format).unwrap();
    let rw = Attributes::new(Permissions::READ | Permissions::WRITE, MemoryType::WriteBack);
    let start = F::Input::from_raw(GIB);
    let size = 2 * GIB + 0x20_1000;
    table.map(&mut memory, &mut NotLoaded, start, Spa::new(4 * GIB), size, rw).unwrap();
    [0x20_0000, 0x1f_ffff, 0].map(|beyond| {
        let at = if beyond == 0 { GIB } else { 3 * GIB + beyond };
        let mapping = table.query(&memory, F::Input::from_raw(at)).unwrap();
        assert_eq!(mapping.spa.raw(), at + 3 * GIB);
        mapping.size
    })
}

#[test]
fn the_engine_uses_what_the_processor_has() {
    assert_eq!(leaves(NptFormat::new(true, 48)), [0x1000, 0x20_0000, GIB]);
    assert_eq!(leaves(NptFormat::new(false, 48)), [0x1000, 0x20_0000, 0x20_0000]);
    assert_eq!(leaves(EptFormat::new(EPT, 48)), [0x1000, 0x20_0000, GIB]);
    assert_eq!(leaves(EptFormat::new(EptCapabilities::default(), 48)), [0x1000; 3]);
    assert_eq!(leaves(KernelFormat::new(false, 48)), [0x1000, 0x20_0000, 0x20_0000]);
    assert_eq!(leaves(KernelFormat::new(true, 48).with_five_levels(true)), [0x1000, 0x20_0000, GIB]);
    assert_eq!(leaves(NptFormat::new(true, 48).with_five_levels(true)), [0x1000, 0x20_0000, GIB]);
}

#[test]
fn split_code_has_pages_alone_and_data_has_not() {
    let format = EptFormat::new(EPT, 48).with_split_code(true);
    assert_eq!(leaves(format), [0x1000, 0x20_0000, GIB]);
    let mut memory = Frames(Vec::new());
    let mut table = PageTable::new(&mut memory, format).unwrap();
    let rw = Permissions::READ | Permissions::WRITE;
    let [code, data] = [rw | Permissions::EXECUTE, rw]
        .map(|permissions| Attributes::new(permissions, MemoryType::WriteBack));
    let at = Gpa::new(GIB);
    let size = |table: &PageTable<EptFormat>, memory: &Frames| table.query(memory, at).unwrap().size;
    table.map(&mut memory, &mut NotLoaded, at, Spa::new(GIB), 0x40_0000, code).unwrap();
    table.merge(&mut memory, &mut NotLoaded, Gpa::new(0), 2 * GIB).unwrap();
    assert_eq!(size(&table, &memory), 0x1000, "neither mapped nor merged to a large leaf");
    table.protect(&mut memory, &mut NotLoaded, at, 0x40_0000, data).unwrap();
    table.merge(&mut memory, &mut NotLoaded, Gpa::new(0), 2 * GIB).unwrap();
    assert_eq!(size(&table, &memory), 0x20_0000);
    table.protect(&mut memory, &mut NotLoaded, at, 0x40_0000, code).unwrap();
    assert_eq!(size(&table, &memory), 0x1000, "what becomes code is split");
    assert_eq!(table.query(&memory, Gpa::new(GIB + 0x3f_f000)).unwrap().attributes, code);
}

#[test]
fn widths_are_kept() {
    let mut memory = Frames(Vec::new());
    let rw = Attributes::new(Permissions::READ | Permissions::WRITE, MemoryType::WriteBack);
    let mut npt = PageTable::new(&mut memory, NptFormat::new(true, 40)).unwrap();
    let far = npt.map(&mut memory, &mut NotLoaded, Gpa::new(0), Spa::new(1 << 40), 0x1000, rw);
    assert_eq!(far, Err(MapError::OutOfRange));
    let mut user = PageTable::new(&mut memory, UserFormat::new(true, 40)).unwrap();
    let hole = UserVa::new(0x0000_8000_0000_0000);
    let beyond = user.map(&mut memory, &mut NotLoaded, hole, Spa::new(0), 0x1000, rw);
    assert_eq!(beyond, Err(MapError::OutOfRange));
}
