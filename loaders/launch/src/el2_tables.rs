//! Identity tables for EL2, as [`crate::LaunchInfo::tables`] wants them: what a loader of an OS at EL1 makes, whose kernel is entered
//! with the MMU off.
//!
//! A pure function of ranges (Arm ARM, D8.3): the 4 KiB granule, 48 bits of address, level 0 first. All that is not named as memory is
//! mapped as devices are, and not executed.

use crate::Range;

/// Entries of a table, each a word; a table is a page.
const ENTRIES: usize = 512;
/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bytes of an entry.
const ENTRY: usize = 8;
/// log2 of what an entry of each level maps.
const SHIFTS: [u32; 4] = [39, 30, 21, 12];
/// The last level, whose leaves are pages.
const LAST: usize = 3;
/// The end of what 48 bits reach.
const END: u64 = 1 << 48;

/// A descriptor that is valid; of a table, or at the last level of a page; else of a block.
const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
/// AttrIndx 1, which the kernel's MAIR_EL2 has as Device-nGnRE; 0 is Normal write-back.
const DEVICE: u64 = 1 << 2;
/// AP\[1\], RES1 at EL2; inner shareable; accessed.
const LEAF: u64 = 1 << 6 | 3 << 8 | 1 << 10;
/// XN.
const NO_EXECUTE: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_FFFF_FFFF_F000;

/// A leaf at `level`.
const fn leaf(address: u64, level: usize, is_memory: bool) -> u64 {
    let kind = if level == LAST { VALID | TABLE_OR_PAGE } else { VALID };
    let memory = if is_memory { 0 } else { DEVICE | NO_EXECUTE };
    address | kind | LEAF | memory
}

/// How many pages tables for so much take at most. `end` is that of the highest memory or device, `ranges` the number of ranges of
/// memory.
pub const fn pages(end: u64, ranges: usize) -> usize {
    // Each end of a range splits a GiB and two MiB at most.
    1 + firsts(end) + 4 * ranges
}

/// How many tables of level 1 there are.
const fn firsts(end: u64) -> usize {
    let end = if end > END { END } else { end };
    let count = end.div_ceil(1 << SHIFTS[0]) as usize;
    if count == 0 { 1 } else { count }
}

/// Fills `room`, which lies at `at`, a page's address, with tables that map everything below `end`, `memory` as such, in whole pages.
/// The first of them is at `at`. Returns how many pages they take; `None` where `room` is too small.
pub fn fill(room: &mut [u8], at: u64, end: u64, memory: &[Range]) -> Option<usize> {
    let mut tables = Tables { room, at, used: 0 };
    let root = tables.add()?;
    for first in 0..firsts(end) {
        let table = tables.add()?;
        tables.set(root, first, tables.address(table) | VALID | TABLE_OR_PAGE)?;
        let start = (first as u64) << SHIFTS[0];
        for index in 0..ENTRIES {
            tables.set(table, index, leaf(start + ((index as u64) << SHIFTS[1]), 1, false))?;
        }
    }
    for range in memory {
        let limit = (firsts(end) as u64) << SHIFTS[0];
        let last = range.start.saturating_add(range.size).min(limit);
        let start = range.start & !(PAGE - 1);
        tables.map(root, 0, start, last.next_multiple_of(PAGE))?;
    }
    Some(tables.used)
}

struct Tables<'a> {
    room: &'a mut [u8],
    at: u64,
    used: usize,
}

impl Tables<'_> {
    /// A new table, empty.
    fn add(&mut self) -> Option<usize> {
        let number = self.used;
        self.room.get_mut(number * PAGE as usize..(number + 1) * PAGE as usize)?.fill(0);
        self.used += 1;
        Some(number)
    }

    fn address(&self, table: usize) -> u64 {
        self.at + table as u64 * PAGE
    }

    fn entry(&mut self, table: usize, index: usize) -> Option<&mut [u8; ENTRY]> {
        let (entries, _) = self.room.as_chunks_mut();
        entries.get_mut(table * ENTRIES + index)
    }

    fn set(&mut self, table: usize, index: usize, descriptor: u64) -> Option<()> {
        *self.entry(table, index)? = descriptor.to_le_bytes();
        Some(())
    }

    /// Maps `start` to `end` as memory by a table of `level`.
    fn map(&mut self, table: usize, level: usize, mut start: u64, end: u64) -> Option<()> {
        let size = 1_u64 << SHIFTS[level];
        while start < end {
            let index = (start >> SHIFTS[level]) as usize % ENTRIES;
            let next = (start & !(size - 1)).saturating_add(size);
            if level != 0 && start.is_multiple_of(size) && next <= end {
                self.set(table, index, leaf(start, level, true))?;
            } else {
                let below = self.below(table, index, level, start & !(size - 1))?;
                self.map(below, level + 1, start, next.min(end))?;
            }
            start = next;
        }
        Some(())
    }

    /// The table that an entry leads to. A block is split.
    fn below(&mut self, table: usize, index: usize, level: usize, start: u64) -> Option<usize> {
        let entry = u64::from_le_bytes(*self.entry(table, index)?);
        if entry & TABLE_OR_PAGE != 0 {
            return Some(((entry & ADDRESS) - self.at) as usize / PAGE as usize);
        }
        let is_memory = entry & DEVICE == 0;
        let new = self.add()?;
        for index in 0..ENTRIES {
            let at = start + ((index as u64) << SHIFTS[level + 1]);
            self.set(new, index, leaf(at, level + 1, is_memory))?;
        }
        self.set(table, index, self.address(new) | VALID | TABLE_OR_PAGE)?;
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;
    const AT: u64 = 0x4_0000_0000;

    fn filled(end: u64, memory: &[Range]) -> Vec<u64> {
        let mut room = vec![u8::MAX; pages(end, memory.len()) * PAGE as usize];
        let used = fill(&mut room, AT, end, memory).unwrap();
        let (words, _) = room.as_chunks();
        words.iter().take(used * ENTRIES).map(|word| u64::from_le_bytes(*word)).collect()
    }

    /// What the tables say of an address: its translation and whether that is memory.
    fn walk(room: &[u64], address: u64) -> Option<(u64, bool)> {
        let mut table = 0;
        for (level, shift) in SHIFTS.into_iter().enumerate() {
            let entry = room[table + (address >> shift) as usize % ENTRIES];
            if entry & VALID == 0 {
                return None;
            }
            if level == LAST || entry & TABLE_OR_PAGE == 0 {
                assert_eq!(level == LAST, entry & TABLE_OR_PAGE != 0);
                let mask = (1_u64 << shift) - 1;
                let (is_device, is_executed) = (entry & DEVICE != 0, entry & NO_EXECUTE == 0);
                assert_eq!(is_device, !is_executed);
                return Some((entry & ADDRESS & !mask | address & mask, !is_device));
            }
            table = ((entry & ADDRESS) - AT) as usize / 8;
        }
        None
    }

    #[test]
    fn all_is_one_to_one_and_what_is_named_is_memory() {
        let memory = [
            Range { start: 0x4760_0000, size: 32 * MIB },
            Range { start: 0x4340_1000, size: 0x3000 },
            Range { start: 5 * GIB - 2 * MIB, size: 3 * GIB },
            Range { start: 600 * GIB, size: 1 },
        ];
        let room = filled(601 * GIB, &memory);
        let interesting = memory.iter().flat_map(|range| {
            let end = range.start + range.size.next_multiple_of(PAGE);
            [range.start - 1, range.start, range.start + range.size / 2, end - 1, end, end + 4 * MIB]
        });
        for address in interesting.chain([0, 0x900_0000, 0x800_0000, GIB, 601 * GIB]) {
            let inside = |range: &Range| {
                (range.start..range.start + range.size.next_multiple_of(PAGE)).contains(&address)
            };
            assert_eq!(walk(&room, address), Some((address, memory.iter().any(inside))), "{address:#x}");
        }
        assert_eq!(walk(&room, 1024 * GIB), None, "nothing is there");
    }

    #[test]
    fn tables_take_no_more_than_is_said() {
        for end in [0, GIB, 512 * GIB, 513 * GIB, u64::MAX] {
            for start in [0, PAGE, 2 * MIB - PAGE, GIB - PAGE, 3 * GIB] {
                for size in [0, 1, PAGE, 2 * MIB, 33 * MIB + PAGE, GIB, 2 * GIB + 5 * PAGE] {
                    let memory = [Range { start, size }];
                    assert!(filled(end, &memory).len() <= pages(end, 1) * ENTRIES);
                }
            }
        }
        assert_eq!(fill(&mut [0; 2 * PAGE as usize - 1], AT, GIB, &[]), None, "the room is too small");
    }

    #[test]
    fn a_range_that_nobody_can_have_ends_where_the_tables_do() {
        let room = filled(GIB, &[Range { start: 511 * GIB, size: u64::MAX }]);
        assert_eq!(walk(&room, 512 * GIB - 1), Some((512 * GIB - 1, true)));
        assert_eq!(walk(&room, 512 * GIB), None);
    }
}
