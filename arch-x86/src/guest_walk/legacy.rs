//! Paging outside long mode: PAE and 32-bit. Linear addresses have 32 bits.

use super::access::{Access, WalkFault};
use super::long::{ADDRESS, PAGE_SIZE, PRESENT, Rights, descend};
use super::paging::GuestPaging;
use plinth_hal::{Gpa, Gva};

/// Reserved in PAE's page-directory-pointer entries, which have no permissions: bits 2:1, 8:5 and 63:52 (Intel SDM vol. 3A,
/// table 4-8). Bit 5 counts as ignored: QEMU sets it as the accessed flag. A processor has checked the entries when it
/// loaded CR3, so an entry in use has it clear there.
const PAE_ROOT_RESERVED: u64 = 0xfff0_0000_0000_01c6;
/// Bit 21 of a page-directory entry for 4 MiB.
const RESERVED_4MIB: u64 = 1 << 21;

/// PAE: four entries at CR3, then two levels of 64-bit entries.
pub(super) fn walk_pae(
    paging: &GuestPaging,
    gva: Gva,
    access: Access,
    mut read_entry: impl FnMut(Gpa) -> Option<u64>,
) -> Result<Gpa, WalkFault> {
    let address = gva.raw() & 0xffff_ffff;
    let at = Gpa::new(paging.root.raw() | (address >> 30) << 3);
    let entry = read_entry(at).ok_or(WalkFault::NoTable(at))?;
    if entry & PRESENT == 0 {
        return Err(WalkFault::not_present(paging, access));
    }
    if entry & (PAE_ROOT_RESERVED | paging.reserved_address) != 0 {
        return Err(WalkFault::reserved(paging, access));
    }
    descend::<1>(paging, address, access, entry & ADDRESS, read_entry)
}

/// 32-bit paging: two levels of 32-bit entries, leaves of 4 KiB and 4 MiB.
pub(super) fn walk32(
    paging: &GuestPaging,
    gva: Gva,
    access: Access,
    large_pages: bool,
    mut read_entry: impl FnMut(Gpa) -> Option<u64>,
) -> Result<Gpa, WalkFault> {
    let address = gva.raw() & 0xffff_ffff;
    let mut read = |table: u64, index: u64| {
        let entry = read32(Gpa::new(table | index << 2), &mut read_entry)?;
        if entry & PRESENT == 0 { Err(WalkFault::not_present(paging, access)) } else { Ok(entry) }
    };
    let directory = read(paging.root.raw(), address >> 22)?;
    let rights = Rights::ALL.and(directory);
    if large_pages && directory & PAGE_SIZE != 0 {
        let page = page_4mib(paging, access, directory)?;
        return check(paging, access, rights, page | (address & 0x3f_ffff));
    }
    let entry = read(directory & 0xffff_f000, address >> 12 & 0x3ff)?;
    check(paging, access, rights.and(entry), (entry & 0xffff_f000) | (address & 0xfff))
}

/// The 32-bit entry at `at`.
fn read32(at: Gpa, read_entry: &mut impl FnMut(Gpa) -> Option<u64>) -> Result<u64, WalkFault> {
    let aligned = at.align_down(8);
    let word = read_entry(aligned).ok_or(WalkFault::NoTable(aligned))?;
    Ok(word >> (8 * (at.raw() & 4)) & 0xffff_ffff)
}

/// Where a page of 4 MiB lies: PSE-36 puts address bits 39:32 into bits 20:13.
fn page_4mib(paging: &GuestPaging, access: Access, entry: u64) -> Result<u64, WalkFault> {
    let page = (entry & 0xffc0_0000) | (entry & 0x001f_e000) << 19;
    let reserved = entry & RESERVED_4MIB | page & paging.reserved_address;
    if reserved == 0 { Ok(page) } else { Err(WalkFault::reserved(paging, access)) }
}

fn check(paging: &GuestPaging, access: Access, rights: Rights, gpa: u64) -> Result<Gpa, WalkFault> {
    if rights.allow(paging, access) { Ok(Gpa::new(gpa)) } else { Err(WalkFault::forbidden(paging, access)) }
}
