//! Entries of 64 bits: long mode, and the two lower levels of PAE.

use super::access::{Access, AccessKind, WalkFault};
use super::paging::GuestPaging;
use plinth_hal::{Gpa, Gva};

pub(super) const PRESENT: u64 = 1 << 0;
pub(super) const WRITE: u64 = 1 << 1;
pub(super) const USER: u64 = 1 << 2;
pub(super) const PAGE_SIZE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What the entries of a walk say together: WRITE and USER count if all set them, NO_EXECUTE if one does.
#[derive(Clone, Copy)]
pub(super) struct Rights {
    all: u64,
    any: u64,
}

impl Rights {
    pub(super) const ALL: Self = Self { all: u64::MAX, any: 0 };

    #[inline]
    pub(super) fn and(self, entry: u64) -> Self {
        Self { all: self.all & entry, any: self.any | entry }
    }

    /// APM vol. 2, 5.6 "Page-Protection Checks"; SDM vol. 3A, "Determination of Access Rights".
    #[inline]
    pub(super) fn allow(self, paging: &GuestPaging, access: Access) -> bool {
        let user_page = self.all & USER != 0;
        if access.user && !user_page {
            return false;
        }
        let reaches_down = !access.user && user_page;
        let data = !(reaches_down && paging.smap && !access.smap_suspended);
        match access.kind {
            AccessKind::Fetch => self.any & NO_EXECUTE == 0 && !(reaches_down && paging.smep),
            AccessKind::Read => data,
            AccessKind::Write => data && (self.all & WRITE != 0 || !(access.user || paging.write_protect)),
        }
    }
}

/// Walks from the root, which is at level `TOP`.
#[inline]
pub(super) fn walk<const TOP: u8>(
    paging: &GuestPaging,
    gva: Gva,
    access: Access,
    read_entry: impl FnMut(Gpa) -> Option<u64>,
) -> Result<Gpa, WalkFault> {
    let unused = 64 - shift(TOP + 1);
    let canonical = (gva.raw().cast_signed() << unused >> unused).cast_unsigned();
    if canonical != gva.raw() {
        return Err(WalkFault::NotCanonical);
    }
    descend::<TOP>(paging, gva.raw(), access, paging.root.raw(), read_entry)
}

/// Walks from the table at `table`, which is at level `TOP`, to the page. `TOP` is a constant for the
/// sake of speed: the loop unrolls.
#[inline]
pub(super) fn descend<const TOP: u8>(
    paging: &GuestPaging,
    address: u64,
    access: Access,
    mut table: u64,
    mut read_entry: impl FnMut(Gpa) -> Option<u64>,
) -> Result<Gpa, WalkFault> {
    let reserved = reserved_everywhere(paging);
    let mut rights = Rights::ALL;
    let mut level = TOP;
    loop {
        let at = Gpa::new(table | (address >> shift(level) & 0x1ff) << 3);
        let Some(entry) = read_entry(at) else { return Err(WalkFault::NoTable(at)) };
        if entry & (reserved | PRESENT) != PRESENT {
            return Err(malformed(paging, access, entry));
        }
        rights = rights.and(entry);
        if level == 0 || entry & PAGE_SIZE != 0 {
            return leaf(paging, address, access, entry, level, rights);
        }
        table = entry & ADDRESS;
        level -= 1;
    }
}

/// The lowest bit of an address that selects an entry at `level`.
#[inline]
const fn shift(level: u8) -> u32 {
    12 + 9 * level as u32
}

/// The bits that no entry may set.
#[inline]
fn reserved_everywhere(paging: &GuestPaging) -> u64 {
    paging.reserved_address | if paging.no_execute { 0 } else { NO_EXECUTE }
}

#[cold]
fn malformed(paging: &GuestPaging, access: Access, entry: u64) -> WalkFault {
    if entry & PRESENT == 0 {
        WalkFault::not_present(paging, access)
    } else {
        WalkFault::reserved(paging, access)
    }
}

#[inline]
fn leaf(
    paging: &GuestPaging,
    address: u64,
    access: Access,
    entry: u64,
    level: u8,
    rights: Rights,
) -> Result<Gpa, WalkFault> {
    let offset = 1_u64.wrapping_shl(shift(level)).wrapping_sub(1);
    // Bit 12 of a large leaf is its PAT bit; the other address bits below its size are reserved, and so is PS
    // above the level of 1 GiB leaves.
    let reserved = if level == 0 { 0 } else { ADDRESS & offset & !(1 << 12) };
    if level > 2 || entry & reserved != 0 {
        Err(WalkFault::reserved(paging, access))
    } else if !rights.allow(paging, access) {
        Err(WalkFault::forbidden(paging, access))
    } else {
        Ok(Gpa::new((entry & ADDRESS & !offset) | (address & offset)))
    }
}
