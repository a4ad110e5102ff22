//! Descriptors of the VMSAv8-64 with the 4 KiB granule (Arm ARM, D8.3), as stage 1 of EL2 and stage 2 have them.

use plinth_hal::Spa;
use plinth_hal::page_table::{Attributes, Entry, MemoryType, Permissions};

/// The descriptor is valid.
const VALID: u64 = 1 << 0;
/// A table above level 3, a page in it; clear: a block.
const TABLE_OR_PAGE: u64 = 1 << 1;
/// Bits 47:12: the output address.
const ADDRESS: u64 = 0x0000_FFFF_FFFF_F000;
/// Inner shareable: coherent between the processors.
const INNER_SHAREABLE: u64 = 3 << 8;
/// The access flag: no fault on first use.
const ACCESSED: u64 = 1 << 10;
/// No instruction fetch. Stage 2: XN\[1\] of XN\[1:0\] = 0b10, at every exception level.
const NO_EXECUTE: u64 = 1 << 54;

/// Stage 1 of EL2&0: no instruction fetch at EL2 (PXN); [`NO_EXECUTE`] is UXN then, EL0's.
const S1_PRIVILEGED_NO_EXECUTE: u64 = 1 << 53;
/// Stage 1 of EL2: AP\[1\] is RES1 there. Stage 1 of EL2&0: EL0 has access.
const S1_AP1: u64 = 1 << 6;
/// Stage 1: AP\[2\], read-only.
const S1_READ_ONLY: u64 = 1 << 7;
/// Stage 1: position of AttrIndx.
const S1_INDEX_SHIFT: u32 = 2;

/// Stage 2: S2AP\[0\], may be read.
const S2_READ: u64 = 1 << 6;
/// Stage 2: S2AP\[1\], may be written.
const S2_WRITE: u64 = 1 << 7;
/// Stage 2: position of MemAttr.
const S2_MEMORY_SHIFT: u32 = 2;

/// The memory types, in the order of [`MAIR`]'s fields, with their stage 2 MemAttr (Arm ARM, D8.6.5).
const TYPES: [(MemoryType, u64); 4] = [
    (MemoryType::WriteBack, 0b1111),
    (MemoryType::Uncached, 0b0001),
    (MemoryType::WriteCombining, 0b0101),
    (MemoryType::WriteThrough, 0b1010),
];

/// MAIR_EL2 for stage 1's AttrIndx: Normal write-back, Device-nGnRE, Normal non-cacheable, Normal write-through.
pub(crate) const MAIR: u64 = 0xBB_44_04_FF;

/// Whether descriptors have a code for this memory type.
pub(crate) fn knows(memory: MemoryType) -> bool {
    TYPES.iter().any(|(known, _)| *known == memory)
}

/// The descriptor that refers to a table and restricts nothing.
pub(crate) const fn table(spa: Spa) -> u64 {
    VALID | TABLE_OR_PAGE | spa.raw()
}

fn leaf(spa: Spa, permissions: Permissions, level: u8) -> u64 {
    let kind = if level == 0 { TABLE_OR_PAGE } else { 0 };
    let execute = if permissions.contains(Permissions::EXECUTE) { 0 } else { NO_EXECUTE };
    VALID | kind | ACCESSED | INNER_SHAREABLE | execute | spa.raw()
}

/// A leaf of the kernel's own tables.
pub(crate) fn stage1_leaf(spa: Spa, attributes: Attributes, level: u8) -> u64 {
    let index = TYPES.iter().position(|(memory, _)| *memory == attributes.memory).unwrap_or(1) as u64;
    let write = if attributes.permissions.contains(Permissions::WRITE) { 0 } else { S1_READ_ONLY };
    leaf(spa, attributes.permissions, level) | S1_AP1 | write | index << S1_INDEX_SHIFT
}

/// A leaf of the tables that the kernel and the extension share: what one may execute the other may not.
pub(crate) fn shared_leaf(spa: Spa, attributes: Attributes, level: u8) -> u64 {
    let permissions = attributes.permissions;
    let own = stage1_leaf(spa, attributes, level) & !(S1_AP1 | NO_EXECUTE);
    let user = permissions.contains(Permissions::USER);
    let execute = permissions.contains(Permissions::EXECUTE);
    let no_user = if execute && user { 0 } else { NO_EXECUTE };
    let no_kernel = if execute && !user { 0 } else { S1_PRIVILEGED_NO_EXECUTE };
    own | no_user | no_kernel | if user { S1_AP1 } else { 0 }
}

/// A leaf of a stage 2.
pub(crate) fn stage2_leaf(spa: Spa, attributes: Attributes, level: u8) -> u64 {
    let found = TYPES.iter().find(|(memory, _)| *memory == attributes.memory);
    let memory = found.map_or(TYPES[1].1, |(_, code)| *code);
    let read = if attributes.permissions.contains(Permissions::READ) { S2_READ } else { 0 };
    let write = if attributes.permissions.contains(Permissions::WRITE) { S2_WRITE } else { 0 };
    leaf(spa, attributes.permissions, level) | read | write | memory << S2_MEMORY_SHIFT
}

/// What a descriptor is, if its leaves say what `attributes` reads from them.
fn decode(entry: u64, level: u8, attributes: impl Fn(u64) -> Attributes) -> Entry {
    let spa = Spa::new(entry & ADDRESS);
    match (entry & VALID != 0, entry & TABLE_OR_PAGE != 0) {
        (false, _) => Entry::Empty,
        (true, true) if level > 0 => Entry::Table(spa),
        (true, false) if level == 0 => Entry::Empty,
        (true, _) => Entry::Leaf { spa, attributes: attributes(entry) },
    }
}

/// Reads a descriptor of the kernel's own tables.
pub(crate) fn decode_stage1(entry: u64, level: u8) -> Entry {
    decode(entry, level, |entry| {
        let mut permissions = Permissions::READ;
        permissions.set(Permissions::WRITE, entry & S1_READ_ONLY == 0);
        permissions.set(Permissions::EXECUTE, entry & NO_EXECUTE == 0);
        let (memory, _) = TYPES[(entry >> S1_INDEX_SHIFT & 3) as usize];
        Attributes::new(permissions, memory)
    })
}

/// Reads a descriptor of the tables that the kernel and the extension share.
pub(crate) fn decode_shared(entry: u64, level: u8) -> Entry {
    match decode_stage1(entry, level) {
        Entry::Leaf { spa, mut attributes } => {
            let user = entry & S1_AP1 != 0;
            let forbids = if user { NO_EXECUTE } else { S1_PRIVILEGED_NO_EXECUTE };
            attributes.permissions.set(Permissions::USER, user);
            attributes.permissions.set(Permissions::EXECUTE, entry & forbids == 0);
            Entry::Leaf { spa, attributes }
        }
        other => other,
    }
}

/// Reads a descriptor of a stage 2.
pub(crate) fn decode_stage2(entry: u64, level: u8) -> Entry {
    decode(entry, level, |entry| {
        let mut permissions = Permissions::empty();
        permissions.set(Permissions::READ, entry & S2_READ != 0);
        permissions.set(Permissions::WRITE, entry & S2_WRITE != 0);
        permissions.set(Permissions::EXECUTE, entry & NO_EXECUTE == 0);
        let code = entry >> S2_MEMORY_SHIFT & 0xF;
        let memory =
            TYPES.iter().find(|(_, known)| *known == code).map_or(MemoryType::Uncached, |found| found.0);
        Attributes::new(permissions, memory)
    })
}
