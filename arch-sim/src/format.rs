//! The machine's page-table entries, for host and guests alike.
//!
//! Bit 0 present, bit 1 leaf, bits 5:2 permissions, bits 8:6 memory type, bits 51:12 address. Four levels,
//! leaves of 4 KiB, 2 MiB and 1 GiB.

use std::marker::PhantomData;

use plinth_hal::Spa;
use plinth_hal::page_table::{Attributes, Entry, InputAddress, MemoryType, Permissions, PtFormat};

const PRESENT: u64 = 1 << 0;
const LEAF: u64 = 1 << 1;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const TYPES: [MemoryType; 5] = [
    MemoryType::WriteBack,
    MemoryType::Uncached,
    MemoryType::WriteCombining,
    MemoryType::WriteThrough,
    MemoryType::WriteProtected,
];

/// How many levels the tables have.
pub const LEVELS: u8 = 4;

/// The format of tables addressed by `I`.
#[derive(Debug)]
pub struct SimFormat<I> {
    has_user_side: bool,
    input: PhantomData<fn() -> I>,
}

impl<I> SimFormat<I> {
    /// The usual one.
    pub const fn new() -> Self {
        Self { has_user_side: false, input: PhantomData }
    }

    /// The same bits, on a machine whose user mode has tables of its own.
    pub const fn separate() -> Self {
        Self { has_user_side: true, ..Self::new() }
    }
}

impl<I> Clone for SimFormat<I> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<I> Default for SimFormat<I> {
    fn default() -> Self {
        Self::new()
    }
}

/// What an entry says, whichever table it is in.
pub fn decode(entry: u64) -> Entry {
    let spa = Spa::new(entry & ADDRESS);
    match (entry & PRESENT != 0, entry & LEAF != 0) {
        (false, _) => Entry::Empty,
        (true, false) => Entry::Table(spa),
        (true, true) => {
            let permissions = Permissions::from_bits_truncate((entry >> 2 & 0xf) as u8);
            let memory = TYPES.get((entry >> 6 & 7) as usize).copied().unwrap_or_default();
            Entry::Leaf { spa, attributes: Attributes::new(permissions, memory) }
        }
    }
}

impl<I: InputAddress> PtFormat for SimFormat<I> {
    type Input = I;

    fn user_side(&self) -> Option<Self> {
        self.has_user_side.then(Self::new)
    }

    fn levels(&self) -> u8 {
        LEVELS
    }

    fn leaf_allowed(&self, level: u8, _: Attributes) -> bool {
        level <= 2
    }

    fn supports(&self, attributes: Attributes) -> bool {
        attributes.permissions.contains(Permissions::READ)
    }

    fn leaf(&self, spa: Spa, attributes: Attributes, _level: u8) -> u64 {
        let memory = TYPES.iter().position(|memory| *memory == attributes.memory).unwrap_or(0) as u64;
        PRESENT | LEAF | u64::from(attributes.permissions.bits()) << 2 | memory << 6 | spa.raw()
    }

    fn table(&self, spa: Spa) -> u64 {
        PRESENT | spa.raw()
    }

    fn decode(&self, entry: u64, level: u8) -> Entry {
        match decode(entry) {
            Entry::Table(_) if level == 0 => Entry::Empty,
            entry => entry,
        }
    }
}
