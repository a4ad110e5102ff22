//! Entries of long-mode page tables, which AMD's nested paging uses too.
//!
//! AMD APM vol. 2, 5.3 "Long-Mode Page Translation" and 5.4 "Page-Translation-Table Entry Fields"; Intel
//! SDM vol. 3A, "4-Level Paging and 5-Level Paging".

use plinth_hal::Spa;
use plinth_hal::page_table::{Attributes, Entry, MemoryType, Permissions};

/// The PAT that Plinth loads on every PP, and that [`MemoryType`]s of these entries refer to: 0 WB, 1
/// WT, 2 UC−, 3 UC as after reset, then 4 WB, 5 WP, 6 UC−, 7 WC. (APM vol. 2, 7.8 "Page-Attribute Table
/// Mechanism"; MSR 277h.)
pub const PAT: u64 = 0x0107_0506_0007_0406;

pub(crate) const PRESENT: u64 = 1 << 0;
pub(crate) const WRITE: u64 = 1 << 1;
pub(crate) const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
/// Set from the start in all that Plinth writes: the processor then never writes to the tables, and
/// never races with an update.
pub(crate) const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// In an entry above level 0: this is a leaf.
pub(crate) const PAGE_SIZE: u64 = 1 << 7;
/// The PAT bit of a leaf at level 0, where bit 7 needs not tell leaf from table.
const PAT_SMALL: u64 = 1 << 7;
/// The PAT bit of a leaf above level 0.
const PAT_LARGE: u64 = 1 << 12;
pub(crate) const NO_EXECUTE: u64 = 1 << 63;
/// Bits 51:12, where the address of a table or a page is.
pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A leaf, but for the permissions.
#[inline]
pub(crate) fn leaf(spa: Spa, memory: MemoryType, level: u8) -> u64 {
    let size = if level > 0 { PAGE_SIZE } else { 0 };
    PRESENT | ACCESSED | DIRTY | size | spa.raw() | memory_bits(memory, level)
}

#[inline]
fn memory_bits(memory: MemoryType, level: u8) -> u64 {
    let pat = if level > 0 { PAT_LARGE } else { PAT_SMALL };
    match memory {
        MemoryType::WriteBack => 0,
        MemoryType::WriteThrough => WRITE_THROUGH,
        MemoryType::Uncached => CACHE_DISABLE | WRITE_THROUGH,
        MemoryType::WriteProtected => pat | WRITE_THROUGH,
        MemoryType::WriteCombining => pat | CACHE_DISABLE | WRITE_THROUGH,
    }
}

/// Permission bits of a leaf that can be read. [`Permissions::USER`] is left to the format.
#[inline]
pub(crate) fn permission_bits(permissions: Permissions) -> u64 {
    let write = if permissions.contains(Permissions::WRITE) { WRITE } else { 0 };
    let execute = if permissions.contains(Permissions::EXECUTE) { 0 } else { NO_EXECUTE };
    write | execute
}

/// Decodes an entry; permissions come without [`Permissions::USER`].
#[inline]
pub(crate) fn decode(entry: u64, level: u8) -> Entry {
    if entry & PRESENT == 0 {
        Entry::Empty
    } else if level > 0 && entry & PAGE_SIZE == 0 {
        Entry::Table(Spa::new(entry & ADDRESS))
    } else {
        decode_leaf(entry, level)
    }
}

#[inline]
fn decode_leaf(entry: u64, level: u8) -> Entry {
    let pat = if level > 0 { PAT_LARGE } else { PAT_SMALL };
    let address = if level > 0 { ADDRESS & !PAT_LARGE } else { ADDRESS };
    let attributes = Attributes::new(decode_permissions(entry), decode_memory(entry, pat));
    Entry::Leaf { spa: Spa::new(entry & address), attributes }
}

#[inline]
fn decode_permissions(entry: u64) -> Permissions {
    let mut permissions = Permissions::READ;
    permissions.set(Permissions::WRITE, entry & WRITE != 0);
    permissions.set(Permissions::EXECUTE, entry & NO_EXECUTE == 0);
    permissions
}

/// The memory type by [`PAT`]; UC− counts as uncached.
#[inline]
fn decode_memory(entry: u64, pat: u64) -> MemoryType {
    match (entry & pat != 0, entry & CACHE_DISABLE != 0, entry & WRITE_THROUGH != 0) {
        (_, false, false) => MemoryType::WriteBack,
        (false, false, true) => MemoryType::WriteThrough,
        (true, false, true) => MemoryType::WriteProtected,
        (true, true, true) => MemoryType::WriteCombining,
        (_, true, _) => MemoryType::Uncached,
    }
}
