//! Device pages that the root VM may read but whose writes trap to the kernel.

use plinth_hal::{Spa, SpaRange};

use crate::limits::MAX_PPS;

/// The trapped ranges: at most one for each processor.
#[derive(Clone, Copy, Debug)]
pub struct TrappedPages {
    ranges: [SpaRange; MAX_PPS],
    count: usize,
}

impl TrappedPages {
    /// No ranges.
    pub const NONE: Self = Self { ranges: [SpaRange::new(Spa::new(0), 0); MAX_PPS], count: 0 };

    /// Adds `size` bytes from `start`, in whole pages. Returns false if the table is full.
    #[must_use]
    pub fn add(&mut self, start: Spa, size: u64) -> bool {
        let Some(free) = self.ranges.get_mut(self.count) else { return false };
        *free = SpaRange::new(start, size);
        self.count = self.count.saturating_add(1);
        true
    }

    /// Whether `at` lies in a range.
    pub fn contains(&self, at: Spa) -> bool {
        self.ranges().iter().any(|range| range.contains(at))
    }

    /// Whether a range overlaps the `size` bytes from `start`.
    pub(crate) fn overlap(&self, start: Spa, size: u64) -> bool {
        self.ranges().iter().any(|range| range.overlaps(start, size))
    }

    /// The ranges.
    pub(crate) fn ranges(&self) -> &[SpaRange] {
        self.ranges.get(..self.count).unwrap_or_default()
    }
}

impl From<SpaRange> for TrappedPages {
    fn from(range: SpaRange) -> Self {
        let mut pages = Self::NONE;
        // There is room for one.
        let _ = pages.add(range.start, range.size);
        pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_processors() {
        let mut pages = TrappedPages::NONE;
        for index in 0..MAX_PPS as u64 {
            assert!(pages.add(Spa::new(index << 17), 1 << 16));
        }
        assert!(!pages.add(Spa::new(1 << 40), 1 << 16));
        assert!(pages.contains(Spa::new(0xFFFF)) && !pages.contains(Spa::new(0x1_0000)));
        assert!(pages.contains(Spa::new(63 << 17)) && !pages.contains(Spa::new(1 << 40)));
        assert!(pages.overlap(Spa::new(0x1_0000), 0x1_0001) && !pages.overlap(Spa::new(0x1_0000), 0x1_0000));
        let one = TrappedPages::from(SpaRange::new(Spa::new(0x1000), 0x1000));
        assert!(one.contains(Spa::new(0x1FFF)) && !one.contains(Spa::new(0)));
        assert!(!TrappedPages::NONE.contains(Spa::new(0)));
    }
}
