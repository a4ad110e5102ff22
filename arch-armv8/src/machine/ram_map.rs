//! The machine's RAM, as the device tree describes it: the one source for what the kernel may access as memory.
//!
//! The kernel maps all addresses below the end of RAM. Between the RAM banks are devices. If a device is mapped as ordinary
//! memory, the CPU may read it speculatively: such a read can change the device's state, and a read of an address where no
//! device answers can raise an SError. So only what is listed here is mapped, and accessed, as memory. A region that the
//! firmware reserves for itself (`no-map`) lies in a bank but is not listed.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use plinth_hal::page_table::MemoryType;
use plinth_hal::{PAGE_SIZE, Spa};
use plinth_launch::Range;

/// The maximum number of regions. Further ones are mapped as device memory and never read.
const MOST: usize = 64;

/// The regions, by start and end, in whole pages.
pub(crate) struct RamMap {
    pieces: [(AtomicU64, AtomicU64); MOST],
    count: AtomicUsize,
}

/// The machine's.
pub(crate) static RAM_MAP: RamMap = RamMap::new();

impl RamMap {
    const fn new() -> Self {
        Self { pieces: [const { (AtomicU64::new(0), AtomicU64::new(0)) }; MOST], count: AtomicUsize::new(0) }
    }

    /// Records the banks below `end`, without the regions `kept` by the firmware. Returns false if `reservation` is not
    /// inside a bank: then the device tree is wrong, and only the reservation is recorded.
    pub(crate) fn fill<K: Iterator<Item = Range>>(
        &self,
        banks: impl Iterator<Item = Range>,
        kept: impl Fn() -> K,
        end: u64,
        reservation: Range,
    ) -> bool {
        self.count.store(0, Ordering::Relaxed);
        let own = pages_inside(reservation);
        for (start, bank_end) in banks.map(pages_inside) {
            self.add_without(start, bank_end.min(end), &kept);
        }
        let known = self.all().any(|(start, end)| start <= own.0 && own.1 <= end);
        if !known {
            self.count.store(0, Ordering::Relaxed);
            self.add(own.0, own.1);
        }
        known
    }

    /// Adds the parts of a bank that the firmware does not keep.
    fn add_without<K: Iterator<Item = Range>>(&self, mut start: u64, end: u64, kept: &impl Fn() -> K) {
        while start < end {
            let ahead = |range: &(u64, u64)| range.1 > start && range.0 < end;
            let next = kept().map(pages_around).filter(ahead).min();
            let Some((from, until)) = next else { return self.add(start, end) };
            self.add(start, from);
            start = until;
        }
    }

    fn add(&self, start: u64, end: u64) {
        let count = self.count.load(Ordering::Relaxed);
        if let Some(slot) = self.pieces.get(count).filter(|_| start < end) {
            slot.0.store(start, Ordering::Relaxed);
            slot.1.store(end, Ordering::Relaxed);
            self.count.store(count + 1, Ordering::Relaxed);
        }
    }

    fn all(&self) -> impl Iterator<Item = (u64, u64)> {
        let known = self.pieces.iter().take(self.count.load(Ordering::Relaxed));
        known.map(|(start, end)| (start.load(Ordering::Relaxed), end.load(Ordering::Relaxed)))
    }

    /// Whether the `size` bytes from `at` are all RAM.
    pub(crate) fn holds(&self, at: Spa, size: u64) -> bool {
        let last = at.raw().saturating_add(size.max(1));
        self.all().any(|(start, end)| start <= at.raw() && last <= end)
    }

    /// The memory type at an address, and the end of the range that has that type.
    pub(crate) fn memory_type(&self, at: Spa) -> (MemoryType, Spa) {
        let at = at.raw();
        if let Some((_, end)) = self.all().find(|(start, end)| (*start..*end).contains(&at)) {
            return (MemoryType::WriteBack, Spa::new(end));
        }
        let next = self.all().map(|(start, _)| start).filter(|start| *start > at).min();
        (MemoryType::Uncached, Spa::new(next.unwrap_or(u64::MAX)))
    }
}

/// The pages that lie wholly inside a range.
fn pages_inside(range: Range) -> (u64, u64) {
    let end = range.start.saturating_add(range.size) & !(PAGE_SIZE - 1);
    (range.start.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1), end)
}

/// The pages that a range touches.
fn pages_around(range: Range) -> (u64, u64) {
    let end = range.start.saturating_add(range.size).saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
    (range.start & !(PAGE_SIZE - 1), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const RESERVATION: Range = Range { start: GIB, size: 32 << 20 };
    const DEVICE: MemoryType = MemoryType::Uncached;

    fn ranges(list: &[(u64, u64)]) -> impl Iterator<Item = Range> {
        list.iter().map(|&(start, size)| Range { start, size })
    }

    fn banks(banks: &[(u64, u64)], kept: &[(u64, u64)]) -> RamMap {
        let all = RamMap::new();
        all.fill(ranges(banks), || ranges(kept), 8 * GIB, RESERVATION);
        all
    }

    #[test]
    fn what_lies_between_banks_are_devices() {
        let banks = banks(&[(4 * GIB, GIB), (GIB, GIB / 2 + 1)], &[]);
        let at = |address| banks.memory_type(Spa::new(address));
        assert_eq!(at(0), (DEVICE, Spa::new(GIB)));
        assert_eq!(at(GIB), (MemoryType::WriteBack, Spa::new(GIB * 3 / 2)));
        assert_eq!(at(GIB * 3 / 2), (DEVICE, Spa::new(4 * GIB)));
        assert_eq!(at(5 * GIB - PAGE_SIZE), (MemoryType::WriteBack, Spa::new(5 * GIB)));
        assert_eq!(at(5 * GIB), (DEVICE, Spa::new(u64::MAX)));
    }

    #[test]
    fn what_lies_between_banks_is_no_memory() {
        let banks = banks(&[(4 * GIB, GIB), (GIB, GIB / 2 + 1), (6 * GIB, 4 * GIB)], &[]);
        let holds = |at, size| banks.holds(Spa::new(at), size);
        for memory in [GIB, GIB * 3 / 2 - 8, 4 * GIB, 5 * GIB - 8, 8 * GIB - 8] {
            assert!(holds(memory, 8), "{memory:#x}");
        }
        for hole in
            [0, 0xB80_0000, GIB - 8, GIB - 4, GIB * 3 / 2 - 4, GIB * 3 / 2, 5 * GIB, 8 * GIB, u64::MAX - 7]
        {
            assert!(!holds(hole, 8), "{hole:#x}");
        }
    }

    #[test]
    fn what_the_firmware_keeps_in_a_bank_is_no_memory() {
        let kept = [
            (GIB + (64 << 20) + 1, 1),
            (GIB / 2, GIB / 2 + 4096),
            (GIB * 3 / 2, GIB),
            (GIB + (64 << 20), 4096),
        ];
        let own = Range { start: GIB + (2 << 20), size: 32 << 20 };
        let all = RamMap::new();
        assert!(all.fill(ranges(&[(GIB, GIB)]), || ranges(&kept), 8 * GIB, own));
        let memory: [(u64, u64); 2] =
            [(GIB + 4096, GIB + (64 << 20)), (GIB + (64 << 20) + 4096, GIB * 3 / 2)];
        assert!(all.all().eq(memory));
        assert_eq!(all.memory_type(Spa::new(GIB + (64 << 20))), (DEVICE, Spa::new(GIB + (64 << 20) + 4096)));
    }

    #[test]
    fn of_a_tree_that_does_not_know_the_reservation_nothing_else_is_believed() {
        let end = GIB + (32 << 20);
        for banks in
            [banks(&[], &[]), banks(&[(GIB + 4096, GIB)], &[]), banks(&[(GIB, GIB)], &[(GIB + 4096, 1)])]
        {
            assert_eq!(banks.memory_type(Spa::new(0)), (DEVICE, Spa::new(GIB)));
            assert_eq!(banks.memory_type(Spa::new(GIB)), (MemoryType::WriteBack, Spa::new(end)));
            assert!(!banks.holds(Spa::new(end), 8));
        }
    }
}
