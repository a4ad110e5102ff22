//! What a loader of an OS at EL1 passes besides: tables for EL2, the device tree and the kernel's command line, behind each other in
//! the part of the reservation that [`crate::layout::Layout::extra`] sets aside.

use crate::image::PAGE_SIZE;
use crate::{LaunchInfo, ORIGIN_EL1, Range, el2_tables};

/// Ranges of memory that the tables map: the reservation and the log.
const RANGES: usize = 2;

/// What is passed.
#[derive(Clone, Copy, Debug)]
pub struct Extra<'a> {
    /// The machine's flattened device tree.
    pub tree: &'a [u8],
    /// The kernel's command line.
    pub command_line: &'a [u8],
}

impl Extra<'_> {
    /// How many bytes it takes on a machine with such an end of memory.
    pub const fn size(&self, memory_end: u64) -> u64 {
        self.line_at(memory_end) + self.command_line.len() as u64
    }

    const fn tree_at(memory_end: u64) -> u64 {
        el2_tables::pages(memory_end, RANGES) as u64 * PAGE_SIZE
    }

    const fn line_at(&self, memory_end: u64) -> u64 {
        Self::tree_at(memory_end) + (self.tree.len() as u64).next_multiple_of(PAGE_SIZE)
    }

    /// Writes it into `room`, which stands for the page-aligned memory at `at`, and writes down in `info` where it is. What else is in
    /// `info` is there already. `None` where `room` is too small.
    pub fn write(&self, room: &mut [u8], at: u64, info: &mut LaunchInfo) -> Option<()> {
        let end = info.memory_end;
        let (tree_at, line_at) = (Self::tree_at(end) as usize, self.line_at(end) as usize);
        el2_tables::fill(room.get_mut(..tree_at)?, at, end, &[info.reservation, info.log])?;
        room.get_mut(tree_at..)?.get_mut(..self.tree.len())?.copy_from_slice(self.tree);
        room.get_mut(line_at..)?.get_mut(..self.command_line.len())?.copy_from_slice(self.command_line);
        info.origin = ORIGIN_EL1;
        info.tables = at;
        info.fdt = at + tree_at as u64;
        info.command_line = Range { start: at + line_at as u64, size: self.command_line.len() as u64 };
        Some(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn everything_lies_where_the_launch_information_says() {
        const AT: u64 = 0x4800_3000;
        let extra = Extra { tree: &[7; 5000], command_line: b"may-stop=always" };
        let mut info = LaunchInfo {
            memory_end: 0x5000_0000,
            reservation: Range { start: 0x4800_0000, size: 32 << 20 },
            log: Range { start: 0x4300_1000, size: 0x1000 },
            ..LaunchInfo::default()
        };
        let size = extra.size(info.memory_end);
        let mut room = vec![0; size as usize];
        assert_eq!(extra.write(&mut room[1..], AT, &mut info), None);
        extra.write(&mut room, AT, &mut info).unwrap();
        assert_eq!((info.origin, info.tables), (ORIGIN_EL1, AT));
        assert!(info.fdt.is_multiple_of(PAGE_SIZE));
        let at = |start: u64, size: usize| &room[(start - AT) as usize..][..size];
        assert_eq!(at(info.fdt, 5000), extra.tree);
        assert_eq!(at(info.command_line.start, info.command_line.size as usize), extra.command_line);
        assert_eq!(info.command_line.start + info.command_line.size, AT + size);
    }
}
