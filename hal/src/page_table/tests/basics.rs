//! What a reader wants to know of the engine, one test each.

use super::formats::{Canonical, Giant, Large, Shape, StageTwo, Toy};
use super::machine::{Memory, Tlb};
use super::std::rc::Rc;
use super::std::string::ToString;
use crate::addr::{Gpa, HostVa, Spa};
use crate::page_table::{Attributes, MapError, Mapping, MemoryType, PageTable, Permissions};

const PAGE: u64 = 0x1000;
const LARGE: u64 = PAGE * 4;
const GIANT: u64 = LARGE * 4;
const RW: Attributes = Attributes::new(Permissions::READ.union(Permissions::WRITE), MemoryType::WriteBack);
const RX: Attributes = Attributes::new(Permissions::READ.union(Permissions::EXECUTE), MemoryType::WriteBack);

fn machine<S: Shape>() -> (PageTable<Toy<S>>, Memory, Tlb) {
    let tlb = Tlb::new();
    let mut memory = Memory::new(S::CAREFUL, Rc::clone(&tlb.flushes));
    let table = PageTable::new(&mut memory, Toy::new()).unwrap();
    (table, memory, tlb)
}

#[test]
fn the_largest_leaf_is_used() {
    let (mut table, mut memory, mut tlb) = machine::<Giant>();
    table.map(&mut memory, &mut tlb, Gpa::new(0), Spa::new(0), 2 * GIANT + LARGE + PAGE, RW).unwrap();
    let size = |at| table.query(&memory, Gpa::new(at)).map(|mapping| mapping.size);
    assert_eq!(size(GIANT), Some(GIANT));
    assert_eq!(size(2 * GIANT), Some(LARGE));
    assert_eq!(size(2 * GIANT + LARGE), Some(PAGE));
    assert_eq!(size(2 * GIANT + LARGE + PAGE), None);
    assert!(tlb.log.is_empty(), "mapping flushed");
}

#[test]
fn a_format_without_giant_leaves_gets_none() {
    let (mut table, mut memory, mut tlb) = machine::<Large>();
    table.map(&mut memory, &mut tlb, Gpa::new(0), Spa::new(0), GIANT, RW).unwrap();
    assert_eq!(table.query(&memory, Gpa::new(0)).unwrap().size, LARGE);
}

#[test]
fn protecting_one_page_splits_and_merging_heals() {
    let (mut table, mut memory, mut tlb) = machine::<Giant>();
    table.map(&mut memory, &mut tlb, Gpa::new(GIANT), Spa::new(GIANT), GIANT, RW).unwrap();
    let frames = memory.in_use();
    let page = Gpa::new(GIANT + 5 * PAGE);
    table.protect(&mut memory, &mut tlb, page, PAGE, RX).unwrap();
    let expected = Mapping { spa: Spa::new(page.raw()), attributes: RX, size: PAGE };
    assert_eq!(table.query(&memory, page), Some(expected));
    assert_eq!(tlb.log, [(GIANT, GIANT)], "one flush, of all that the old leaf covered");
    table.merge(&mut memory, &mut tlb, Gpa::new(GIANT), GIANT).unwrap();
    assert_eq!(table.query(&memory, page).unwrap().size, PAGE, "merged what differs");
    table.protect(&mut memory, &mut tlb, page, PAGE, RW).unwrap();
    table.merge(&mut memory, &mut tlb, Gpa::new(GIANT), GIANT).unwrap();
    assert_eq!(table.query(&memory, page).unwrap().size, GIANT);
    assert_eq!(memory.in_use(), frames);
}

#[test]
fn protecting_with_the_same_attributes_does_nothing() {
    let (mut table, mut memory, mut tlb) = machine::<Giant>();
    table.map(&mut memory, &mut tlb, Gpa::new(0), Spa::new(0), GIANT, RW).unwrap();
    table.protect(&mut memory, &mut tlb, Gpa::new(PAGE), PAGE, RW).unwrap();
    assert_eq!(table.query(&memory, Gpa::new(PAGE)).unwrap().size, GIANT);
    assert!(tlb.log.is_empty());
}

#[test]
fn break_before_make_flushes_the_leaf_it_splits() {
    let (mut table, mut memory, mut tlb) = machine::<StageTwo>();
    table.map(&mut memory, &mut tlb, Gpa::new(0), Spa::new(0), GIANT, RW).unwrap();
    table.unmap(&mut memory, &mut tlb, Gpa::new(LARGE), LARGE).unwrap();
    assert_eq!(tlb.log, [(0, GIANT), (LARGE, LARGE)]);
}

#[test]
fn unmapping_much_flushes_little() {
    let (mut table, mut memory, mut tlb) = machine::<Large>();
    let size = 15 * GIANT;
    table.map(&mut memory, &mut tlb, Gpa::new(0), Spa::new(PAGE), size, RW).unwrap();
    assert!(memory.in_use() > 60);
    table.unmap(&mut memory, &mut tlb, Gpa::new(0), size).unwrap();
    assert_eq!(memory.in_use(), 1);
    assert!(tlb.log.len() <= 4, "{:?}", tlb.log);
}

#[test]
fn canonical_halves_do_not_touch() {
    let (mut table, mut memory, mut tlb) = machine::<Canonical>();
    let half = 1 << 19;
    let mut map = |at: u64, size| table.map(&mut memory, &mut tlb, HostVa::new(at), Spa::new(0), size, RW);
    assert_eq!(map(half - PAGE, 2 * PAGE), Err(MapError::OutOfRange));
    assert_eq!(map(half, PAGE), Err(MapError::OutOfRange));
    assert_eq!(map(half - PAGE, PAGE), Ok(()));
    assert_eq!(map(half.wrapping_neg(), PAGE), Ok(()));
    assert_eq!(map(PAGE.wrapping_neg(), PAGE), Ok(()));
    assert_eq!(map(PAGE.wrapping_neg(), 2 * PAGE), Err(MapError::OutOfRange));
    let top = HostVa::new(u64::MAX);
    assert_eq!(table.query(&memory, top).unwrap().spa, Spa::new(0xfff));
    assert_eq!(table.query(&memory, HostVa::new(half)), None);
}

#[test]
fn refusals_say_what_and_where() {
    let (mut table, mut memory, mut tlb) = machine::<Giant>();
    let mut map =
        |at, to, size, with| table.map(&mut memory, &mut tlb, Gpa::new(at), Spa::new(to), size, with);
    let none = Attributes::default();
    assert_eq!(map(0x10, 0, PAGE, RW), Err(MapError::Misaligned));
    assert_eq!(map(0, 0x10, PAGE, RW), Err(MapError::Misaligned));
    assert_eq!(map(0, 0, 0x10, RW), Err(MapError::Misaligned));
    assert_eq!(map(0, 0, 0, RW), Err(MapError::OutOfRange));
    assert_eq!(map(0, 1 << 52, PAGE, RW), Err(MapError::OutOfRange));
    assert_eq!(map(0, !0xfff, PAGE, RW), Err(MapError::OutOfRange));
    assert_eq!(map(!0xfff, 0, PAGE, RW), Err(MapError::OutOfRange));
    assert_eq!(map(0, 0, !0xfff, RW), Err(MapError::OutOfRange));
    assert_eq!(map(0, 0, PAGE, none), Err(MapError::Unsupported(none)));
    assert_eq!(map(0x3000, 0, PAGE, RW), Ok(()));
    let taken = map(0, 0, 4 * PAGE, RW).unwrap_err();
    assert_eq!(taken.to_string(), "0x3000 is mapped already; unmap it first");
    let hole = table.unmap(&mut memory, &mut tlb, Gpa::new(0x3000), 2 * PAGE).unwrap_err();
    assert_eq!(hole, MapError::NotMapped(0x4000));
}
