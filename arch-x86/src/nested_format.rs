//! AMD's nested page tables: guest-physical to system-physical.
//!
//! APM vol. 2, 15.25 "Nested Paging". The tables are those of the host's paging mode, long mode here, with as many levels. Walks
//! by a guest count as user accesses, so U/S is set everywhere (15.25.5); NX works as EFER.NXE of the host is
//! set. Memory types are indices into the host's PAT, combined with the guest's by 15.25.8.

use crate::long_mode_entry::{self as entry, ACCESSED, PRESENT, USER, WRITE};
use plinth_hal::page_table::{Attributes, Entry, Permissions, PtFormat};
use plinth_hal::{Gpa, Spa};

/// The format of nested page tables, 4 levels or 5.
#[derive(Clone, Copy, Debug)]
pub struct NptFormat {
    giant_leaves: bool,
    physical_bits: u8,
    levels: u8,
}

impl NptFormat {
    /// For a processor with `physical_bits` of physical address (CPUID 8000_0008h EAX bits 7:0), and with
    /// 1 GiB leaves if `giant_leaves` (CPUID 8000_0001h EDX bit 26).
    pub const fn new(giant_leaves: bool, physical_bits: u8) -> Self {
        Self { giant_leaves, physical_bits, levels: 4 }
    }

    /// The same with 5 levels if `five_levels`: where the kernel runs with CR4.LA57 set.
    pub const fn with_five_levels(self, five_levels: bool) -> Self {
        Self { levels: if five_levels { 5 } else { 4 }, ..self }
    }
}

impl PtFormat for NptFormat {
    type Input = Gpa;

    #[inline]
    fn levels(&self) -> u8 {
        self.levels
    }

    #[inline]
    fn output_bits(&self) -> u32 {
        u32::from(self.physical_bits).min(52)
    }

    #[inline]
    fn leaf_allowed(&self, level: u8, _: Attributes) -> bool {
        level <= 1 || (level == 2 && self.giant_leaves)
    }

    #[inline]
    fn supports(&self, attributes: Attributes) -> bool {
        let permissions = attributes.permissions;
        permissions.contains(Permissions::READ) && !permissions.contains(Permissions::USER)
    }

    #[inline]
    fn leaf(&self, spa: Spa, attributes: Attributes, level: u8) -> u64 {
        let permissions = entry::permission_bits(attributes.permissions);
        entry::leaf(spa, attributes.memory, level) | permissions | USER
    }

    #[inline]
    fn table(&self, spa: Spa) -> u64 {
        PRESENT | WRITE | USER | ACCESSED | spa.raw()
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Entry {
        entry::decode(entry, level)
    }
}
