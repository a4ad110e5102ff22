//! The formats, alone and under the engine.

extern crate std;

use plinth_hal::page_table::{
    Attributes, Entry, InputAddress, MapError, MemoryType, NotLoaded, PageTable, Permissions, PtFormat,
    TableMemory,
};
use plinth_hal::{Gpa, OutOfFrames, Spa};
use std::vec::Vec;

use crate::{HostFormat, Stage2Format};

const TYPES: [MemoryType; 4] =
    [MemoryType::WriteBack, MemoryType::Uncached, MemoryType::WriteCombining, MemoryType::WriteThrough];
const RW: Permissions = Permissions::READ.union(Permissions::WRITE);

/// All that a format supports comes back from every level as it went in.
fn round_trip<F: PtFormat>(format: &F) {
    let mut supported = 0;
    for permissions in (0..16).map(Permissions::from_bits_truncate) {
        for attributes in TYPES.map(|memory| Attributes::new(permissions, memory)) {
            if format.supports(attributes) {
                supported += 1;
                for level in 0..3 {
                    let spa = Spa::new(0x0000_ffff_c000_0000);
                    let entry = format.leaf(spa, attributes, level);
                    assert_eq!(format.decode(entry, level), Entry::Leaf { spa, attributes }, "level {level}");
                }
            }
        }
    }
    assert!(supported >= 16);
    let table = Spa::new(0x0000_ffff_ffff_f000);
    assert!((1..4).all(|level| format.decode(format.table(table), level) == Entry::Table(table)));
    assert!((0..4).all(|level| format.decode(0, level) == Entry::Empty));
}

#[test]
fn round_trips() {
    round_trip(&Stage2Format::new(40));
    round_trip(&HostFormat::new(40));
    round_trip(&HostFormat::new(40).user_side().unwrap());
    round_trip(&HostFormat::shared(40));
    assert_eq!(HostFormat::shared(40).user_side(), None);
}

/// In the tables that both share, no page is executable for both, and the kernel's are out of EL0's reach.
#[test]
fn shared_tables_keep_kernel_and_extension_apart() {
    let spa = Spa::new(0x4000_0000);
    let leaf = |permissions| {
        HostFormat::shared(40).leaf(spa, Attributes::new(permissions, MemoryType::WriteBack), 0)
    };
    let (privileged_never, user_never, user) = (1 << 53, 1 << 54, 1 << 6);
    let code = Permissions::READ | Permissions::EXECUTE;
    assert_eq!(leaf(code), user_never | 0x4000_0783);
    assert_eq!(leaf(RW), user_never | privileged_never | 0x4000_0703);
    assert_eq!(leaf(code | Permissions::USER), privileged_never | user | 0x4000_0783);
    assert_eq!(leaf(RW | Permissions::USER), user_never | privileged_never | user | 0x4000_0703);
}

#[test]
fn bits_are_those_of_the_manual() {
    let stage2 = Stage2Format::new(40);
    let spa = Spa::new(0x4000_0000);
    let all = RW | Permissions::EXECUTE;
    let leaf = |permissions, memory, level| stage2.leaf(spa, Attributes::new(permissions, memory), level);
    assert_eq!(leaf(all, MemoryType::WriteBack, 0), 0x4000_07FF);
    assert_eq!(leaf(all, MemoryType::WriteBack, 2), 0x4000_07FD);
    assert_eq!(leaf(Permissions::READ, MemoryType::WriteBack, 0), 1 << 54 | 0x4000_077F);
    assert_eq!(leaf(RW, MemoryType::Uncached, 0), 1 << 54 | 0x4000_07C7);
    let stage1 = HostFormat::new(40);
    let code = Attributes::new(Permissions::READ | Permissions::EXECUTE, MemoryType::WriteBack);
    assert_eq!(stage1.leaf(spa, code, 0), 0x4000_07C3);
    assert_eq!(stage1.leaf(spa, Attributes::new(RW, MemoryType::WriteBack), 1), 1 << 54 | 0x4000_0741);
}

/// Each memory type names the field of MAIR that holds it (Arm ARM, MAIR_EL2).
#[test]
fn mair_holds_what_entries_name() {
    for (memory, code) in TYPES.into_iter().zip([0xFF, 0x04, 0x44, 0xBB]) {
        let entry = HostFormat::new(40).leaf(Spa::new(0), Attributes::new(Permissions::READ, memory), 0);
        assert_eq!(crate::paging::descriptor::MAIR >> (8 * (entry >> 2 & 7)) & 0xff, code, "{memory:?}");
    }
}

#[test]
fn roots_are_concatenated_where_a_level_more_is_not_allowed() {
    let shape = |bits| (Stage2Format::new(bits).levels(), Stage2Format::new(bits).root_extra_bits());
    assert_eq!([36, 39, 40, 42, 44, 48].map(shape), [(3, 0), (3, 0), (3, 1), (3, 3), (4, 0), (4, 0)]);
    assert_eq!(Stage2Format::new(40).control(2, false), 0x8002_3558);
    assert_eq!(Stage2Format::new(44).control(4, false), 0x8004_3594);
    assert_eq!(Stage2Format::new(48).control(5, true), 0x800D_3590);
    assert_eq!(HostFormat::new(40).user_side().unwrap().levels(), 3);
}

/// Frames in a vector, the frame at 4096 · n being `self.0[n]`.
struct Frames(Vec<[u64; 512]>);

impl TableMemory for Frames {
    fn allocate(&mut self, frames: usize) -> Result<Spa, OutOfFrames> {
        self.0.resize(self.0.len().next_multiple_of(frames), [0; 512]);
        let first = self.0.len();
        self.0.resize(first + frames, [0; 512]);
        Ok(Spa::new((first as u64) << 12))
    }

    fn free(&mut self, _table: Spa, _frames: usize) {}

    fn read(&self, table: Spa, index: usize) -> u64 {
        self.0[(table.raw() >> 12) as usize + index / 512][index % 512]
    }

    fn write(&mut self, table: Spa, index: usize, entry: u64) {
        self.0[(table.raw() >> 12) as usize + index / 512][index % 512] = entry;
    }
}

#[test]
fn the_engine_uses_blocks_and_the_second_root_table() {
    const GIB: u64 = 1 << 30;
    let mut memory = Frames(Vec::new());
    let mut table = PageTable::new(&mut memory, Stage2Format::new(40)).unwrap();
    let start = 512 * GIB;
    let rw = Attributes::new(RW, MemoryType::WriteBack);
    let size = 2 * GIB + 0x20_1000;
    table.map(&mut memory, &mut NotLoaded, Gpa::from_raw(start), Spa::new(GIB), size, rw).unwrap();
    for (at, leaf) in [(start, GIB), (start + 2 * GIB, 0x20_0000), (start + 2 * GIB + 0x20_0000, 0x1000)] {
        let mapping = table.query(&memory, Gpa::new(at)).unwrap();
        assert_eq!((mapping.spa.raw(), mapping.size), (at - start + GIB, leaf));
    }
    assert_eq!(memory.0[(table.root().raw() >> 12) as usize][0], 0);
    let far = table.map(&mut memory, &mut NotLoaded, Gpa::new(1 << 40), Spa::new(0), 0x1000, rw);
    assert_eq!(far, Err(MapError::OutOfRange));
}
