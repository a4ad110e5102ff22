//! Intel's extended page tables: guest-physical to system-physical.
//!
//! Intel SDM vol. 3C, "The Extended Page Table Mechanism (EPT)". The accessed and dirty flags stay
//! unused: bit 6 of the EPT pointer has to be 0. Memory types stand in the leaves themselves; with the
//! ignore-PAT bit clear they combine with the guest's PAT.

use plinth_hal::page_table::{Attributes, Entry, MemoryType, Permissions, PtFormat};
use plinth_hal::{Gpa, Spa};

const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const EXECUTE: u64 = 1 << 2;
const ALL: u64 = READ | WRITE | EXECUTE;
const MEMORY_SHIFT: u32 = 3;
const PAGE_SIZE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What the processor's EPT can do: bits of IA32_VMX_EPT_VPID_CAP (MSR 48Ch).
#[derive(Clone, Copy, Debug, Default)]
pub struct EptCapabilities {
    /// Mappings may be executed that can't be read (bit 0).
    pub execute_only: bool,
    /// Leaves of 2 MiB (bit 16).
    pub large_leaves: bool,
    /// Leaves of 1 GiB (bit 17).
    pub giant_leaves: bool,
}

impl EptCapabilities {
    /// From the value of IA32_VMX_EPT_VPID_CAP.
    pub fn from_msr(value: u64) -> Self {
        let bit = |position: u32| value >> position & 1 != 0;
        Self { execute_only: bit(0), large_leaves: bit(16), giant_leaves: bit(17) }
    }
}

/// The format of extended page tables, 4 levels.
#[derive(Clone, Copy, Debug)]
pub struct EptFormat {
    capabilities: EptCapabilities,
    physical_bits: u8,
    splits_code: bool,
}

impl EptFormat {
    /// For a processor with `physical_bits` of physical address (CPUID 8000_0008h EAX bits 7:0).
    pub const fn new(capabilities: EptCapabilities, physical_bits: u8) -> Self {
        Self { capabilities, physical_bits, splits_code: false }
    }

    /// The same, where code is mapped by pages of 4 KiB alone if `splits_code`: for a processor that a guest can stop
    /// by changing the size of a page that it executes (see
    /// [`Processor::has_itlb_multihit`](crate::speculation::Processor::has_itlb_multihit)).
    pub const fn with_split_code(self, splits_code: bool) -> Self {
        Self { splits_code, ..self }
    }
}

impl PtFormat for EptFormat {
    type Input = Gpa;

    #[inline]
    fn levels(&self) -> u8 {
        4
    }

    #[inline]
    fn output_bits(&self) -> u32 {
        u32::from(self.physical_bits).min(52)
    }

    #[inline]
    fn leaf_allowed(&self, level: u8, attributes: Attributes) -> bool {
        let EptCapabilities { large_leaves, giant_leaves, .. } = self.capabilities;
        let split = self.splits_code && attributes.permissions.contains(Permissions::EXECUTE);
        let large = large_leaves && !split;
        level == 0 || (level == 1 && large) || (level == 2 && large && giant_leaves)
    }

    /// Write without read is a misconfiguration, execute without read a capability ("EPT Misconfigurations").
    #[inline]
    fn supports(&self, attributes: Attributes) -> bool {
        let permissions = attributes.permissions;
        let execute_only = permissions == Permissions::EXECUTE && self.capabilities.execute_only;
        let nested = !permissions.contains(Permissions::USER);
        nested && (permissions.contains(Permissions::READ) || execute_only)
    }

    #[inline]
    fn leaf(&self, spa: Spa, attributes: Attributes, level: u8) -> u64 {
        let size = if level > 0 { PAGE_SIZE } else { 0 };
        let memory = memory_code(attributes.memory) << MEMORY_SHIFT;
        permission_bits(attributes.permissions) | memory | size | spa.raw()
    }

    #[inline]
    fn table(&self, spa: Spa) -> u64 {
        ALL | spa.raw()
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Entry {
        let spa = Spa::new(entry & ADDRESS);
        if entry & ALL == 0 {
            Entry::Empty
        } else if level > 0 && entry & PAGE_SIZE == 0 {
            Entry::Table(spa)
        } else {
            let attributes = Attributes::new(decode_permissions(entry), decode_memory(entry));
            Entry::Leaf { spa, attributes }
        }
    }
}

#[inline]
fn permission_bits(permissions: Permissions) -> u64 {
    let bit = |permission, bit| if permissions.contains(permission) { bit } else { 0 };
    bit(Permissions::READ, READ) | bit(Permissions::WRITE, WRITE) | bit(Permissions::EXECUTE, EXECUTE)
}

#[inline]
fn decode_permissions(entry: u64) -> Permissions {
    let mut permissions = Permissions::empty();
    permissions.set(Permissions::READ, entry & READ != 0);
    permissions.set(Permissions::WRITE, entry & WRITE != 0);
    permissions.set(Permissions::EXECUTE, entry & EXECUTE != 0);
    permissions
}

/// The encoding of memory types that MTRRs and EPT share.
#[inline]
fn memory_code(memory: MemoryType) -> u64 {
    match memory {
        MemoryType::Uncached => 0,
        MemoryType::WriteCombining => 1,
        MemoryType::WriteThrough => 4,
        MemoryType::WriteProtected => 5,
        MemoryType::WriteBack => 6,
    }
}

#[inline]
fn decode_memory(entry: u64) -> MemoryType {
    match entry >> MEMORY_SHIFT & 7 {
        1 => MemoryType::WriteCombining,
        4 => MemoryType::WriteThrough,
        5 => MemoryType::WriteProtected,
        6 => MemoryType::WriteBack,
        _ => MemoryType::Uncached,
    }
}
