//! The two sets of tables: the kernel's own with the extension's beside them, and those of virtual machines.

use plinth_hal::page_table::{Attributes, Entry, Permissions, PtFormat};
use plinth_hal::{Gpa, HostVa, Spa};

use crate::paging::descriptor as entry;

/// Address bits that a tree of three levels translates; more by concatenating tables for its root.
const THREE_LEVELS: u32 = 39;
/// The most tables that may be concatenated, as a power of two (Arm ARM, D8.2.2).
const MOST_CONCATENATED: u32 = 4;
/// Address bits of the extension's space.
pub(crate) const USER_BITS: u32 = 39;
/// Address bits of the kernel's own space.
pub(crate) const KERNEL_BITS: u32 = 48;

/// VTCR_EL2 but for what depends on the machine: RES1 bit 31, write-back walks, inner shareable, 4 KiB granule.
const VTCR: u64 = 1 << 31 | 3 << 12 | 1 << 10 | 1 << 8;

/// Stage 2: guest-physical to system-physical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2Format {
    bits: u32,
    physical_bits: u32,
}

impl Stage2Format {
    /// For a processor with `physical_bits` (32 to 48) of physical address: a guest has as many.
    pub const fn new(physical_bits: u32) -> Self {
        Self { bits: physical_bits, physical_bits }
    }

    /// The extension's space.
    pub(crate) const fn user(physical_bits: u32) -> Self {
        Self { bits: USER_BITS, physical_bits }
    }

    /// VTCR_EL2 for these tables: the machine's PARange as it stands in ID_AA64MMFR0_EL1, and whether VMIDs have
    /// 16 bits (Arm ARM, D19.2, VTCR_EL2).
    pub(crate) fn control(&self, range: u64, wide_vmid: bool) -> u64 {
        let start_level = if self.levels() == 4 { 2 } else { 1 };
        VTCR | u64::from(wide_vmid) << 19 | range << 16 | start_level << 6 | u64::from(64 - self.bits)
    }

    /// What the root table looks like.
    pub(crate) fn root(&self) -> RootShape {
        RootShape {
            entries: 1 << (TABLE_BITS + self.root_extra_bits()),
            shift: PAGE_BITS + TABLE_BITS * (u32::from(self.levels()) - 1),
        }
    }
}

/// A root table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RootShape {
    /// How many entries it has.
    pub(crate) entries: u64,
    /// log2 of the bytes that one covers.
    pub(crate) shift: u32,
}

impl RootShape {
    /// Pages for a processor's own one: a power of two, so that the table is aligned to its size, and as much again.
    pub(crate) const fn pages(self) -> usize {
        2 * (self.entries >> TABLE_BITS) as usize
    }
}

/// log2 of the entries of a table, and of the bytes of a page.
const TABLE_BITS: u32 = 9;
const PAGE_BITS: u32 = 12;

impl PtFormat for Stage2Format {
    type Input = Gpa;
    const BREAK_BEFORE_MAKE: bool = true;

    #[inline]
    fn levels(&self) -> u8 {
        if self.bits > THREE_LEVELS + MOST_CONCATENATED { 4 } else { 3 }
    }

    #[inline]
    fn root_extra_bits(&self) -> u32 {
        if self.levels() == 4 { 0 } else { self.bits.saturating_sub(THREE_LEVELS) }
    }

    #[inline]
    fn output_bits(&self) -> u32 {
        self.physical_bits
    }

    #[inline]
    fn leaf_allowed(&self, level: u8, _: Attributes) -> bool {
        level <= 2
    }

    #[inline]
    fn supports(&self, attributes: Attributes) -> bool {
        !attributes.permissions.contains(Permissions::USER) && entry::knows(attributes.memory)
    }

    #[inline]
    fn leaf(&self, spa: Spa, attributes: Attributes, level: u8) -> u64 {
        entry::stage2_leaf(spa, attributes, level)
    }

    #[inline]
    fn table(&self, spa: Spa) -> u64 {
        entry::table(spa)
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Entry {
        entry::decode_stage2(entry, level)
    }
}

/// Whose addresses a [`HostFormat`] translates, and where the extension lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// The kernel's alone: stage 1 of EL2.
    Kernel,
    /// The extension's alone: at EL0 under EL2 it has no stage 1, but a stage 2.
    User,
    /// Both: stage 1 of EL2&0.
    Shared,
}

/// The hypervisor's own tables: stage 1 of EL2 for the kernel, and for the extension a stage 2 beside it, or, where the
/// processor has the EL2&0 regime, a part of the same tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFormat {
    physical_bits: u32,
    side: Side,
}

impl HostFormat {
    /// For a processor with `physical_bits` (39 to 48) of physical address: two trees.
    pub const fn new(physical_bits: u32) -> Self {
        Self { physical_bits, side: Side::Kernel }
    }

    /// One tree for both, in the EL2&0 regime.
    pub const fn shared(physical_bits: u32) -> Self {
        Self { physical_bits, side: Side::Shared }
    }

    const fn stage2(&self) -> Stage2Format {
        Stage2Format::user(self.physical_bits)
    }
}

impl PtFormat for HostFormat {
    type Input = HostVa;
    const BREAK_BEFORE_MAKE: bool = true;

    fn user_side(&self) -> Option<Self> {
        (self.side != Side::Shared).then_some(Self { side: Side::User, ..*self })
    }

    #[inline]
    fn levels(&self) -> u8 {
        if self.side == Side::User { self.stage2().levels() } else { 4 }
    }

    #[inline]
    fn output_bits(&self) -> u32 {
        self.physical_bits
    }

    #[inline]
    fn leaf_allowed(&self, level: u8, _: Attributes) -> bool {
        level <= 2
    }

    #[inline]
    fn supports(&self, attributes: Attributes) -> bool {
        let user = attributes.permissions.contains(Permissions::USER);
        attributes.permissions.contains(Permissions::READ)
            && (self.side == Side::Shared || user == (self.side == Side::User))
            && entry::knows(attributes.memory)
    }

    #[inline]
    fn leaf(&self, spa: Spa, attributes: Attributes, level: u8) -> u64 {
        match self.side {
            Side::Kernel => entry::stage1_leaf(spa, attributes, level),
            Side::User => entry::stage2_leaf(spa, attributes, level),
            Side::Shared => entry::shared_leaf(spa, attributes, level),
        }
    }

    #[inline]
    fn table(&self, spa: Spa) -> u64 {
        entry::table(spa)
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Entry {
        match self.side {
            Side::Kernel => entry::decode_stage1(entry, level),
            Side::Shared => entry::decode_shared(entry, level),
            Side::User => match entry::decode_stage2(entry, level) {
                Entry::Leaf { spa, mut attributes } => {
                    attributes.permissions |= Permissions::USER;
                    Entry::Leaf { spa, attributes }
                }
                other => other,
            },
        }
    }
}
