//! The walk for an instruction that the processor has just executed. The processor has checked all access
//! rights, so the walk checks none and only finds the page.
//!
//! If the guest changes its page tables on another processor meanwhile, the walk may end in another page. The
//! caller notices that by the opcode.

use super::long::{ADDRESS, PAGE_SIZE, PRESENT};
use plinth_hal::{Gpa, Gva};

/// Bits of the address that select an entry of a table.
const LEVEL_BITS: u32 = 9;
/// Bits of the offset in a page of 4 KiB.
const PAGE_BITS: u32 = 12;

/// The guest-physical address of `gva` by the four-level tables at `cr3`; `None` if `gva` is no longer
/// mapped.
#[inline]
pub fn page_of_executed(cr3: u64, gva: Gva, mut read_entry: impl FnMut(Gpa) -> Option<u64>) -> Option<Gpa> {
    let mut table = cr3 & ADDRESS;
    let mut shift = PAGE_BITS + 3 * LEVEL_BITS;
    loop {
        let index = gva.raw() >> shift & 0x1ff;
        let entry = read_entry(Gpa::new(table + index * 8))?;
        if entry & PRESENT == 0 {
            return None;
        }
        if shift == PAGE_BITS || entry & PAGE_SIZE != 0 {
            let offset = (1 << shift) - 1;
            return Some(Gpa::new(entry & ADDRESS & !offset | gva.raw() & offset));
        }
        table = entry & ADDRESS;
        shift -= LEVEL_BITS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: u64 = PRESENT;

    fn read(at: Gpa) -> Option<u64> {
        match at.raw() {
            0x1008 => Some(0x2000 | TABLE),
            0x2010 => Some(0x3000 | TABLE),
            0x2018 => Some(0x8000_0000 | TABLE | PAGE_SIZE),
            0x3018 => Some(0x4000 | TABLE),
            0x3020 => Some(0x40_0000 | TABLE | PAGE_SIZE | 1 << 12),
            0x4028 => Some(0x5000 | TABLE | 1 << 63),
            0x4030 => Some(0x6000),
            _ => None,
        }
    }

    fn walk(gva: u64) -> Option<u64> {
        page_of_executed(0x1018, Gva::new(1 << 39 | gva), read).map(Gpa::raw)
    }

    #[test]
    fn pages_of_all_sizes_are_found() {
        assert_eq!(walk(2 << 30 | 3 << 21 | 5 << 12 | 0x123), Some(0x5123));
        assert_eq!(walk(2 << 30 | 4 << 21 | 0x1_2345), Some(0x41_2345));
        assert_eq!(walk(3 << 30 | 0x123_4567), Some(0x8123_4567));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert_eq!(walk(2 << 30 | 3 << 21 | 6 << 12), None, "not present");
        assert_eq!(walk(5 << 30), None, "no table");
    }
}
