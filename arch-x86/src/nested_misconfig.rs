//! An entry of a nested page table that the processor refuses: reserved bits, or permissions that make no sense.
//!
//! The kernel writes no such entry, and a guest reaches none: so the kernel has erred, or memory is broken. What the entry
//! allowed is not known any more, and it is not made anew. The log gets its words; the guest gets what a processor raises
//! about broken memory, a machine check, each time it comes there.

use plinth_hal::{Event, PhysicalMemory, Spa};

/// The present bit of NPT, read, write and execute of EPT: all of them in an entry that refers to a table.
const ALL: u64 = 7;
const LEAF: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// CR4.MCE.
const MACHINE_CHECKS: u64 = 1 << 6;

/// #MC.
const MACHINE_CHECK: Event = Event::Exception { vector: 18, error_code: None };

/// What the bare machine does about broken memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It raises this.
    Raise(Event),
    /// It shuts down.
    ShutDown,
}

/// The entries on the way to a guest-physical address by the tables at `root`; zero below the last.
pub fn path<const LEVELS: usize>(read: impl Fn(Spa) -> u64, root: Spa, at: u64) -> [u64; LEVELS] {
    let mut entries = [0; LEVELS];
    let mut table = root.raw();
    for (level, entry) in entries.iter_mut().enumerate() {
        let index = at >> (12 + 9 * (LEVELS - 1 - level)) & 0x1ff;
        *entry = read(Spa::new(table).word(index));
        if *entry & ALL != ALL || *entry & LEAF != 0 {
            break;
        }
        table = *entry & ADDRESS;
    }
    entries
}

/// Reports an entry that the processor has refused, and says what becomes of the guest with this CR4: it has come upon
/// the entry while it was `delivering` an event, or not.
///
/// A processor that does not take machine checks shuts down (Intel SDM vol. 3A, 6.15, interrupt 18; AMD APM vol. 2, 8.2.18).
/// So does one that cannot deliver an event: the machine check might meet the same entry, again and again.
#[cold]
pub fn answer<const LEVELS: usize>(
    memory: &impl PhysicalMemory,
    root: Spa,
    at: u64,
    cr4: u64,
    delivering: bool,
) -> Answer {
    let entries = path::<LEVELS>(|at| memory.read_u64(at), root, at);
    let shuts_down = delivering || cr4 & MACHINE_CHECKS == 0;
    let outcome = if shuts_down { "shuts down" } else { "gets a machine check" };
    log::error!(
        "nested page tables are broken at guest-physical {at:#x}, entries {entries:x?}; the VM {outcome}; please report it"
    );
    if shuts_down { Answer::ShutDown } else { Answer::Raise(MACHINE_CHECK) }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::collections::BTreeMap;

    const GPA: u64 = 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 0x123;

    fn read_in(words: &[(u64, u64)]) -> impl Fn(Spa) -> u64 {
        let words: BTreeMap<_, _> = words.iter().copied().collect();
        move |at| words.get(&at.raw()).copied().unwrap_or(u64::MAX)
    }

    #[test]
    fn the_path_ends_at_the_page() {
        let read = read_in(&[(0x1008, 0x2007), (0x2010, 0x3007), (0x3018, 0x4027), (0x4020, 0x5032)]);
        assert_eq!(path(read, Spa::new(0x1000), GPA), [0x2007, 0x3007, 0x4027, 0x5032]);
    }

    #[test]
    fn the_path_ends_where_an_entry_leads_nowhere() {
        let broken = read_in(&[(0x1008, 0x2002)]);
        assert_eq!(path(broken, Spa::new(0x1000), GPA), [0x2002, 0, 0, 0]);
        let large = read_in(&[(0x1008, 0x2007), (0x2010, 0x4000_00B7)]);
        assert_eq!(path(large, Spa::new(0x1000), GPA), [0x2007, 0x4000_00B7, 0, 0]);
    }

    #[test]
    fn five_levels_have_five_entries() {
        let upper = 5 << 48;
        let read = read_in(&[
            (0x9028, 0x1007),
            (0x1008, 0x2007),
            (0x2010, 0x3007),
            (0x3018, 0x4027),
            (0x4020, 0x5032),
        ]);
        assert_eq!(path(read, Spa::new(0x9000), upper | GPA), [0x1007, 0x2007, 0x3007, 0x4027, 0x5032]);
    }

    #[test]
    fn tables_that_are_nowhere_end_the_path() {
        let read = read_in(&[(0x1008, ADDRESS | ALL)]);
        assert_eq!(path(read, Spa::new(0x1000), GPA), [ADDRESS | ALL, u64::MAX, 0, 0]);
    }
}
