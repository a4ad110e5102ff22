//! Small test formats: tables of four entries, so that whole address spaces can be compared.

use crate::addr::{Gpa, HostVa, Spa};
use crate::page_table::{Attributes, Entry, MemoryType, Permissions, PtFormat};
use core::marker::PhantomData;

/// How a [`Toy`] is shaped.
pub(super) trait Shape {
    type Input: crate::page_table::InputAddress;
    const LEVELS: u8;
    const EXTRA: u32 = 0;
    const LARGEST_LEAF: u8;
    const CAREFUL: bool = false;
    const SIGNED: bool = false;
}

/// x86-like, 4 levels, leaves at three of them.
pub(super) struct Giant;
impl Shape for Giant {
    type Input = Gpa;
    const LEVELS: u8 = 4;
    const LARGEST_LEAF: u8 = 2;
}

/// x86-like, 4 levels, leaves at two of them.
pub(super) struct Large;
impl Shape for Large {
    type Input = Gpa;
    const LEVELS: u8 = 4;
    const LARGEST_LEAF: u8 = 1;
}

/// Like stage 2: 3 levels, four concatenated root tables, break-before-make.
pub(super) struct StageTwo;
impl Shape for StageTwo {
    type Input = Gpa;
    const LEVELS: u8 = 3;
    const EXTRA: u32 = 2;
    const LARGEST_LEAF: u8 = 2;
    const CAREFUL: bool = true;
}

/// Like stage 1 of the host: canonical addresses.
pub(super) struct Canonical;
impl Shape for Canonical {
    type Input = HostVa;
    const LEVELS: u8 = 4;
    const LARGEST_LEAF: u8 = 1;
    const SIGNED: bool = true;
}

/// A format whose entries tell tables (bit 0) from leaves (bit 1) without the level.
pub(super) struct Toy<S>(PhantomData<S>);

impl<S> Toy<S> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

pub(super) const TABLE: u64 = 1 << 0;
pub(super) const LEAF: u64 = 1 << 1;
pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// What may change in a live entry without break-before-make: the permissions.
pub(super) const MUTABLE: u64 = 0xf << 2;

const TYPES: [MemoryType; 5] = [
    MemoryType::WriteBack,
    MemoryType::Uncached,
    MemoryType::WriteCombining,
    MemoryType::WriteThrough,
    MemoryType::WriteProtected,
];

impl<S: Shape> PtFormat for Toy<S> {
    type Input = S::Input;
    const LEVEL_BITS: u32 = 2;
    const BREAK_BEFORE_MAKE: bool = S::CAREFUL;
    const SIGN_EXTENDED: bool = S::SIGNED;

    fn levels(&self) -> u8 {
        S::LEVELS
    }

    fn root_extra_bits(&self) -> u32 {
        S::EXTRA
    }

    fn leaf_allowed(&self, level: u8, _: Attributes) -> bool {
        level <= S::LARGEST_LEAF
    }

    fn supports(&self, attributes: Attributes) -> bool {
        attributes.permissions.contains(Permissions::READ)
    }

    fn leaf(&self, spa: Spa, attributes: Attributes, _level: u8) -> u64 {
        let memory = TYPES.iter().position(|&memory| memory == attributes.memory).unwrap() as u64;
        LEAF | spa.raw() | u64::from(attributes.permissions.bits()) << 2 | memory << 6
    }

    fn table(&self, spa: Spa) -> u64 {
        TABLE | spa.raw()
    }

    fn decode(&self, entry: u64, level: u8) -> Entry {
        let spa = Spa::new(entry & ADDRESS);
        match entry & (TABLE | LEAF) {
            TABLE if level > 0 => Entry::Table(spa),
            LEAF if level <= S::LARGEST_LEAF => {
                let permissions = Permissions::from_bits_truncate((entry >> 2 & 0xf) as u8);
                let memory = TYPES[(entry >> 6 & 7) as usize];
                Entry::Leaf { spa, attributes: Attributes { permissions, memory } }
            }
            0 => Entry::Empty,
            _ => panic!("entry {entry:#x} at level {level}"),
        }
    }
}
