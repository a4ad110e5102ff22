//! Pages of devices that the root VM may read, and whose writes the kernel must see.

use plinth_hal::{Spa, SpaRange};

use crate::limits::MAX_PPS;

/// One range of them for each processor, at the most.
#[derive(Clone, Copy, Debug)]
pub struct TrappedPages {
    ranges: [SpaRange; MAX_PPS],
    count: usize,
}

impl TrappedPages {
    /// None.
    pub const NONE: Self = Self { ranges: [SpaRange::new(Spa::new(0), 0); MAX_PPS], count: 0 };

    /// Adds `size` bytes from `start` on, whole pages. Returns false where there are too many ranges.
    #[must_use]
    pub fn add(&mut self, start: Spa, size: u64) -> bool {
        let Some(free) = self.ranges.get_mut(self.count) else { return false };
        *free = SpaRange::new(start, size);
        self.count = self.count.saturating_add(1);
        true
    }

    /// Whether `at` lies in one of them.
    pub fn contains(&self, at: Spa) -> bool {
        self.ranges().iter().any(|range| range.contains(at))
    }

    /// Whether one of them lies, in part, in the `size` bytes from `start` on.
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
