//! Each mode on a fake memory.

extern crate std;

use super::{Access, GuestPaging, PagingMode, WalkFault, walk};
use plinth_hal::{Gpa, Gva};
use proptest::prelude::*;
use std::collections::BTreeMap;

const PG: u64 = 1 << 31;
const WP: u64 = 1 << 16;
const PSE: u64 = 1 << 4;
const PAE: u64 = 1 << 5;
const LA57: u64 = 1 << 12;
const SMEP: u64 = 1 << 20;
const SMAP: u64 = 1 << 21;
const LMA: u64 = 1 << 10;
const NXE: u64 = 1 << 11;
const NX: u64 = 1 << 63;
/// Present, writable, user.
const PWU: u64 = 7;
/// A large leaf of that.
const LARGE: u64 = PWU | 1 << 7;

/// Guest memory: 64-bit words, present within the first 16 MiB.
struct Memory(BTreeMap<u64, u64>);

impl Memory {
    fn of(words: &[(u64, u64)]) -> Self {
        Self(words.iter().copied().collect())
    }

    fn walk(&self, paging: &GuestPaging, gva: u64, access: Access) -> Result<u64, WalkFault> {
        let read = |at: Gpa| {
            assert!(at.is_aligned(8));
            (at.raw() < 1 << 24).then(|| self.0.get(&at.raw()).copied().unwrap_or(0))
        };
        walk(paging, Gva::new(gva), access, read).map(Gpa::raw)
    }
}

const READ: Access = Access::read(false);

fn long4() -> GuestPaging {
    GuestPaging::from_registers(PG | WP, 0x1000, PAE, LMA | NXE)
}

/// A 4 KiB page at 0, one of 2 MiB at 2 MiB, one of 1 GiB at 1 GiB.
fn long_memory(leaf: u64) -> Memory {
    Memory::of(&[
        (0x1000, 0x2000 | PWU),
        (0x2000, 0x3000 | PWU),
        (0x3000, 0x4000 | PWU),
        (0x4000, leaf),
        (0x3008, 0x60_0000 | LARGE),
        (0x2008, 0x8000_0000 | LARGE),
    ])
}

#[test]
fn modes_by_registers() {
    let mode = |cr0, cr4, efer| GuestPaging::from_registers(cr0, 0, cr4, efer).mode;
    assert_eq!(mode(0, PAE, NXE), PagingMode::None);
    assert_eq!(mode(PG, 0, 0), PagingMode::Bits32 { large_pages: false });
    assert_eq!(mode(PG, PSE, 0), PagingMode::Bits32 { large_pages: true });
    assert_eq!(mode(PG, PAE | PSE, 0), PagingMode::Pae);
    assert_eq!(mode(PG, PAE, LMA), PagingMode::Long4);
    assert_eq!(mode(PG, PAE | LA57, LMA), PagingMode::Long5);
    let pcid_and_flags = GuestPaging::from_registers(PG, 0x8000_0000_0000_1fff, PAE, LMA);
    assert_eq!(pcid_and_flags.root, Gpa::new(0x1000));
    assert_eq!(GuestPaging::from_registers(PG, 0xff8, PAE, 0).root, Gpa::new(0xfe0));
}

#[test]
fn without_paging() {
    let paging = GuestPaging::from_registers(0, 0, 0, 0);
    assert_eq!(Memory::of(&[]).walk(&paging, 0x1_0000_fff0, READ), Ok(0xfff0));
}

#[test]
fn long_mode_page_sizes() {
    let memory = long_memory(0x5000 | PWU);
    assert_eq!(memory.walk(&long4(), 0x123, READ), Ok(0x5123));
    assert_eq!(memory.walk(&long4(), 0x21_2345, READ), Ok(0x61_2345));
    assert_eq!(memory.walk(&long4(), 0x4123_4567, READ), Ok(0x8123_4567));
}

#[test]
fn five_levels() {
    let mut memory = long_memory(0x5000 | PWU);
    memory.0.insert(0x7000 + 8 * 0x100, 0x1000 | PWU);
    let paging = GuestPaging::from_registers(PG, 0x7000, PAE | LA57, LMA);
    assert_eq!(memory.walk(&paging, 0xff00_0000_0000_0123, READ), Ok(0x5123));
    assert_eq!(memory.walk(&paging, 0x0100_0000_0000_0000, READ), Err(WalkFault::NotCanonical));
    assert_eq!(memory.walk(&long4(), 0x0000_8000_0000_0000, READ), Err(WalkFault::NotCanonical));
}

#[test]
fn not_present_and_outside() {
    let memory = long_memory(0x5000 | PWU & !1);
    assert_eq!(memory.walk(&long4(), 0, READ), Err(WalkFault::PageFault(0)));
    assert_eq!(memory.walk(&long4(), 0x40_0000, Access::write(true)), Err(WalkFault::PageFault(0b110)));
    assert_eq!(memory.walk(&long4(), 0x40_0000, Access::fetch(false)), Err(WalkFault::PageFault(0x10)));
    let lost = GuestPaging { root: Gpa::new(1 << 30), ..long4() };
    assert_eq!(memory.walk(&lost, 8 << 39, READ), Err(WalkFault::NoTable(Gpa::new((1 << 30) + 64))));
}

#[test]
fn reserved_bits() {
    let reserved = Err(WalkFault::PageFault(0b1001));
    let without_nx = GuestPaging { no_execute: false, ..long4() };
    assert_eq!(long_memory(0x5000 | PWU | NX).walk(&without_nx, 0, READ), reserved);
    let narrow = long4().with_physical_bits(40);
    assert_eq!(long_memory(1 << 40 | PWU).walk(&narrow, 0, READ), reserved);
    assert_eq!(long_memory(1 << 39 | PWU).walk(&narrow, 0, READ), Ok(1 << 39));
    let mut memory = long_memory(0);
    memory.0.insert(0x3008, 0x60_2000 | LARGE);
    assert_eq!(memory.walk(&long4(), 0x20_0000, READ), reserved);
    memory.0.insert(0x3008, 0x60_1000 | LARGE);
    assert_eq!(memory.walk(&long4(), 0x20_0000, READ), Ok(0x60_0000), "bit 12 is PAT");
    memory.0.insert(0x1000, 0x2000 | LARGE);
    assert_eq!(memory.walk(&long4(), 0, READ), reserved, "PS in a PML4 entry");
}

#[test]
fn protection() {
    let walk = |entry: u64, paging: GuestPaging, access| {
        long_memory(0x5000 | entry).walk(&paging, 0, access).is_ok()
    };
    let (kernel_read_only, user_read_only) = (1, 5);
    assert!(!walk(kernel_read_only, long4(), Access::read(true)));
    assert!(walk(user_read_only, long4(), Access::read(true)));
    assert!(!walk(user_read_only, long4(), Access::write(true)));
    assert!(!walk(kernel_read_only, long4(), Access::write(false)));
    let unprotected = GuestPaging { write_protect: false, ..long4() };
    assert!(walk(kernel_read_only, unprotected, Access::write(false)));
    assert!(!walk(user_read_only, unprotected, Access::write(true)));
    assert!(!walk(1 | NX, long4(), Access::fetch(false)));
    assert!(walk(1 | NX, long4(), READ));
    let guarded = GuestPaging { smep: true, smap: true, ..long4() };
    assert!(!walk(PWU, guarded, Access::fetch(false)));
    assert!(walk(PWU, guarded, Access::fetch(true)));
    assert!(!walk(PWU, guarded, READ));
    assert!(walk(PWU, guarded, Access { smap_suspended: true, ..READ }));
    assert!(walk(kernel_read_only, guarded, READ));
    let by_registers = GuestPaging::from_registers(PG | WP, 0x1000, PAE | SMEP | SMAP, LMA | NXE);
    assert_eq!(by_registers, guarded);
}

#[test]
fn rights_are_those_of_all_levels() {
    let mut memory = long_memory(0x5000 | PWU);
    memory.0.insert(0x2000, 0x3000 | 1 | NX);
    let code = |access| memory.walk(&long4(), 0, access);
    assert_eq!(code(Access::fetch(false)), Err(WalkFault::PageFault(0x11)));
    assert_eq!(code(Access::write(false)), Err(WalkFault::PageFault(0b11)));
    assert_eq!(code(Access::read(true)), Err(WalkFault::PageFault(0b101)));
    assert_eq!(code(READ), Ok(0x5000));
}

#[test]
fn pae() {
    let paging = GuestPaging::from_registers(PG | WP, 0x1020, PAE, NXE);
    let mut memory = Memory::of(&[
        (0x1020 + 24, 0x2000 | 1),
        (0x2000 + 8 * 3, 0x3000 | PWU),
        (0x3000 + 8 * 4, 0x1_2345_6000 | PWU),
        (0x2000 + 8 * 4, 0x2_0020_0000 | LARGE),
    ]);
    assert_eq!(memory.walk(&paging, 0xc060_4abc, READ), Ok(0x1_2345_6abc));
    assert_eq!(memory.walk(&paging, 0xc091_2345, READ), Ok(0x2_0031_2345));
    assert_eq!(memory.walk(&paging, 0x1_c060_4abc, READ), Ok(0x1_2345_6abc), "32-bit addresses");
    assert_eq!(memory.walk(&paging, 0, READ), Err(WalkFault::PageFault(0)));
    for reserved in [1 << 1, 1 << 2, 1 << 6, 1 << 7, 1 << 8, 1 << 52, 1 << 63] {
        memory.0.insert(0x1020, 0x2000 | 1 | reserved);
        assert_eq!(memory.walk(&paging, 0, READ), Err(WalkFault::PageFault(0b1001)), "{reserved:#x}");
    }
}

#[test]
fn pae_with_an_accessed_flag_in_the_root() {
    let paging = GuestPaging::from_registers(PG, 0x1020, PAE, 0);
    let memory = Memory::of(&[(0x1020, 0x2000 | 1 | 1 << 5), (0x2000, 0x3000 | PWU), (0x3000, 0x5000 | PWU)]);
    assert_eq!(memory.walk(&paging, 0x123, READ), Ok(0x5123));
}

#[test]
fn bits32() {
    let pse = GuestPaging::from_registers(PG | WP, 0x1000, PSE, 0);
    let words = |odd: u64, even: u64| odd << 32 | even;
    let memory = Memory::of(&[
        (0x1000, words(0x0040_0000 | LARGE, 0x2000 | PWU)),
        (0x2008, words(0x5000 | PWU, 0x4000 | 1)),
        (0x1008, words(0x0060_0000 | LARGE, 0x0040_0000 | 0x0000_6000 | LARGE)),
    ]);
    assert_eq!(memory.walk(&pse, 0x2123, READ), Ok(0x4123));
    assert_eq!(memory.walk(&pse, 0x3123, READ), Ok(0x5123));
    assert_eq!(memory.walk(&pse, 0x2123, Access::write(true)), Err(WalkFault::PageFault(0b111)));
    assert_eq!(memory.walk(&pse, 0x0041_2345, READ), Ok(0x0041_2345));
    assert_eq!(memory.walk(&pse, 0x0080_0001, READ), Ok(0x3_0040_0001), "PSE-36");
    assert_eq!(memory.walk(&pse, 0x00c0_0000, READ), Err(WalkFault::PageFault(0b1001)), "bit 21");
    let narrow = pse.with_physical_bits(32);
    assert_eq!(memory.walk(&narrow, 0x0080_0001, READ), Err(WalkFault::PageFault(0b1001)));
    let plain = GuestPaging::from_registers(PG, 0x1000, 0, 0);
    assert_eq!(memory.walk(&plain, 0x0040_0000, READ), Err(WalkFault::PageFault(0)), "PS ignored");
    assert_eq!(memory.walk(&pse, 0x4000, Access::fetch(true)), Err(WalkFault::PageFault(0b100)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the guest's tables hold, the walk ends, and asks for aligned words only.
    #[test]
    fn any_tables_have_an_answer(
        cr0: u64, cr3: u64, cr4: u64, efer: u64, gva: u64, bits in 12u32..64, entry: u64, user: bool,
    ) {
        let paging = GuestPaging::from_registers(cr0, cr3, cr4, efer).with_physical_bits(bits);
        for access in [Access::read(user), Access::write(user), Access::fetch(user)] {
            let mut reads = 0;
            let _ = walk(&paging, Gva::new(gva), access, |at| {
                reads += 1;
                assert!(at.is_aligned(8));
                Some(entry | 1)
            });
            prop_assert!(reads <= 5);
        }
    }
}
