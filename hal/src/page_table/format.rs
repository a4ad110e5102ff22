//! [`PtFormat`]: the geometry and the entry bits of a page-table format, as pure functions.

use crate::addr::{Gpa, HostVa, Spa, UserVa};
use bitflags::bitflags;
pub use plinth_extension_api::abi::MemoryType;

bitflags! {
    /// The accesses that a mapping permits.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct Permissions: u8 {
        /// Data can be read.
        const READ = 1 << 0;
        /// Data can be written.
        const WRITE = 1 << 1;
        /// Instructions can be fetched.
        const EXECUTE = 1 << 2;
        /// User mode has the same permissions. Only for the host's stage 1: nested paging does not
        /// distinguish user mode.
        const USER = 1 << 3;
    }
}

/// The attributes of a leaf: everything except its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Attributes {
    /// The permitted accesses.
    pub permissions: Permissions,
    /// The memory type, which determines caching.
    pub memory: MemoryType,
}

impl Attributes {
    /// `permissions` on memory of the type `memory`.
    pub const fn new(permissions: Permissions, memory: MemoryType) -> Self {
        Self { permissions, memory }
    }
}

/// A decoded page-table entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Not present: translates nothing.
    Empty,
    /// Refers to a table of the next lower level.
    Table(Spa),
    /// Maps a page or block, and ends the walk.
    Leaf {
        /// The first byte of the page or block.
        spa: Spa,
        /// The attributes of the mapping.
        attributes: Attributes,
    },
}

/// The type of a format's input addresses. Each format has one, so that the compiler refuses to look up a
/// guest-physical address in the host's own table.
pub trait InputAddress: Copy {
    /// Wraps a raw address, in bytes.
    fn from_raw(raw: u64) -> Self;
    /// The raw address, in bytes.
    fn into_raw(self) -> u64;
}

macro_rules! input_address {
    ($($name:ident),*) => {$(
        impl InputAddress for $name {
            #[inline]
            fn from_raw(raw: u64) -> Self {
                Self::new(raw)
            }

            #[inline]
            fn into_raw(self) -> u64 {
                self.raw()
            }
        }
    )*};
}

input_address!(Gpa, HostVa, UserVa);

/// A page-table format with 4 KiB pages and entries of 64 bits: geometry and bits.
///
/// Levels count from 0 (tables whose entries map single pages) to [`levels`](Self::levels) − 1 (the
/// root). The engine relies on:
///
/// * an entry of 0 being empty at every level;
/// * `decode(leaf(spa, attributes, level), level)` giving back the same leaf, for all attributes that
///   are [supported](Self::supports), and `decode(table(spa), level)` the same table for levels above 0;
/// * leaves with some attributes being allowed at level 0 and, if at some level, at all below it.
///
/// What differs from CPU to CPU (1 GiB leaves, address width) is a method and may depend on the value;
/// where it does not, it inlines to a constant.
pub trait PtFormat {
    /// The addresses it translates from.
    type Input: InputAddress;

    /// log2 of the entries in a table: 9 wherever a table fills a page of 4 KiB.
    const LEVEL_BITS: u32 = 9;

    /// Whether a live entry has to be made invalid, and the TLBs flushed, before it may change its size,
    /// output address or memory type. (Arm ARM, "Using break-before-make when updating translation
    /// table entries".) Meanwhile other PPs can take a fault on the range: retry after such a fault.
    const BREAK_BEFORE_MAKE: bool = false;

    /// Whether input addresses are canonical, the bits above the tree's repeating its top bit, rather
    /// than zero.
    const SIGN_EXTENDED: bool = false;

    /// The format of user mode's own tables, where it cannot share the kernel's: an AArch64 processor without
    /// EL2&0 translation runs EL0 under EL2 on a stage 2. `None`: one tree serves both.
    #[inline]
    fn user_side(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// How many levels the tree has, 1 or more.
    fn levels(&self) -> u8;

    /// log2 of the tables concatenated into the root, for stage 2: these are index bits on top of
    /// [`LEVEL_BITS`](Self::LEVEL_BITS).
    #[inline]
    fn root_extra_bits(&self) -> u32 {
        0
    }

    /// How many bits a system-physical address has.
    #[inline]
    fn output_bits(&self) -> u32 {
        52
    }

    /// Whether entries of tables at `level` may be leaves with these attributes.
    fn leaf_allowed(&self, level: u8, attributes: Attributes) -> bool;

    /// Whether a leaf can express exactly these attributes.
    fn supports(&self, attributes: Attributes) -> bool;

    /// The entry at `level` that maps to `spa`, which is aligned to the leaf's size.
    fn leaf(&self, spa: Spa, attributes: Attributes, level: u8) -> u64;

    /// The entry that refers to the table at `spa` and restricts nothing.
    fn table(&self, spa: Spa) -> u64;

    /// What an entry found at `level` says.
    fn decode(&self, entry: u64, level: u8) -> Entry;
}
