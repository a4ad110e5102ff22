//! Where the machine's memory is, as the device tree says.
//!
//! The kernel maps everything below the end of memory. What lies between the banks are devices, and a processor may read
//! ahead from what is mapped as ordinary memory: a read of a device's register can change what the device does, and
//! one of nothing at all can be an SError.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use plinth_hal::page_table::MemoryType;
use plinth_hal::{PAGE_SIZE, Spa, SpaRange};
use plinth_launch::Range;

/// The most banks; what lies in further ones is mapped as devices are.
const MOST: usize = 32;

/// The banks, by start and end, in whole pages.
pub(crate) struct Banks {
    banks: [(AtomicU64, AtomicU64); MOST],
    count: AtomicUsize,
}

/// The machine's.
pub(crate) static BANKS: Banks = Banks::new();

impl Banks {
    const fn new() -> Self {
        Self { banks: [const { (AtomicU64::new(0), AtomicU64::new(0)) }; MOST], count: AtomicUsize::new(0) }
    }

    /// Takes note of the banks, if they are all that there is to know: if `reservation`, which is memory, is in one.
    pub(crate) fn fill(&self, banks: impl Iterator<Item = Range>, reservation: Range) {
        let mut count = 0;
        for (slot, bank) in self.banks.iter().zip(banks) {
            let end = bank.start.saturating_add(bank.size) & !(PAGE_SIZE - 1);
            slot.0.store(bank.start.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1), Ordering::Relaxed);
            slot.1.store(end, Ordering::Relaxed);
            count += 1;
        }
        self.count.store(count, Ordering::Relaxed);
        let whole = SpaRange::new(Spa::new(reservation.start), reservation.size);
        if !self.all().any(|(start, end)| start <= whole.start.raw() && whole.end().raw() <= end) {
            self.count.store(0, Ordering::Relaxed);
        }
    }

    fn all(&self) -> impl Iterator<Item = (u64, u64)> {
        let known = &self.banks[..self.count.load(Ordering::Relaxed)];
        known.iter().map(|(start, end)| (start.load(Ordering::Relaxed), end.load(Ordering::Relaxed)))
    }

    /// What is at an address, and how far it is the same. Without banks everything counts as memory.
    pub(crate) fn memory_type(&self, at: Spa) -> (MemoryType, Spa) {
        let at = at.raw();
        if self.all().next().is_none() {
            return (MemoryType::WriteBack, Spa::new(u64::MAX));
        }
        if let Some((_, end)) = self.all().find(|(start, end)| (*start..*end).contains(&at)) {
            return (MemoryType::WriteBack, Spa::new(end));
        }
        let next = self.all().map(|(start, _)| start).filter(|start| *start > at).min();
        (MemoryType::Uncached, Spa::new(next.unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const RESERVATION: Range = Range { start: GIB, size: 32 << 20 };

    fn banks(banks: &[(u64, u64)]) -> Banks {
        let all = Banks::new();
        all.fill(banks.iter().map(|&(start, size)| Range { start, size }), RESERVATION);
        all
    }

    #[test]
    fn what_lies_between_banks_are_devices() {
        let banks = banks(&[(4 * GIB, GIB), (GIB, GIB / 2 + 1)]);
        let at = |address| banks.memory_type(Spa::new(address));
        let device = MemoryType::Uncached;
        assert_eq!(at(0), (device, Spa::new(GIB)));
        assert_eq!(at(GIB), (MemoryType::WriteBack, Spa::new(GIB * 3 / 2)));
        assert_eq!(at(GIB * 3 / 2), (device, Spa::new(4 * GIB)));
        assert_eq!(at(5 * GIB - PAGE_SIZE), (MemoryType::WriteBack, Spa::new(5 * GIB)));
        assert_eq!(at(5 * GIB), (device, Spa::new(u64::MAX)));
    }

    #[test]
    fn a_tree_that_does_not_know_the_reservation_is_not_believed() {
        let everything = (MemoryType::WriteBack, Spa::new(u64::MAX));
        assert_eq!(banks(&[]).memory_type(Spa::new(0)), everything);
        assert_eq!(banks(&[(GIB + 4096, GIB)]).memory_type(Spa::new(0)), everything);
    }
}
