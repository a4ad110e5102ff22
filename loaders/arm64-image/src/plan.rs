//! Finding room: for the reservation, for the payload where it wants to run, for the edited device tree.

use plinth_launch::Range;

/// The most ranges that a plan keeps clear of.
const MAX_TAKEN: usize = 64;

/// A memory bank and what of it is taken.
#[derive(Clone, Debug)]
pub struct Plan {
    bank: Range,
    taken: [Range; MAX_TAKEN],
    count: usize,
}

/// There are more taken ranges than a plan can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

const fn end(range: Range) -> u64 {
    range.start.saturating_add(range.size)
}

const fn overlap(a: Range, b: Range) -> bool {
    a.size != 0 && b.size != 0 && a.start < end(b) && b.start < end(a)
}

impl Plan {
    /// A plan for one bank of memory, all free.
    pub const fn new(bank: Range) -> Self {
        Self { bank, taken: [Range { start: 0, size: 0 }; MAX_TAKEN], count: 0 }
    }

    /// Keeps clear of a range.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn take(&mut self, range: Range) -> Result<(), TooMany> {
        let slot = self.taken.get_mut(self.count).ok_or(TooMany)?;
        *slot = range;
        self.count += 1;
        Ok(())
    }

    fn is_free(&self, range: Range) -> bool {
        range.start >= self.bank.start
            && end(range) <= end(self.bank)
            && !self.taken[..self.count].iter().any(|taken| overlap(*taken, range))
    }

    /// Takes `size` bytes at a multiple of `alignment`, as low as possible from `from` on.
    pub fn low(&mut self, from: u64, size: u64, alignment: u64) -> Option<Range> {
        let first = from.max(self.bank.start).checked_next_multiple_of(alignment)?;
        let mut starts = (first..end(self.bank)).step_by(alignment as usize);
        self.claim(&mut starts, size)
    }

    /// Takes `size` bytes at a multiple of `alignment`, as high as possible.
    pub fn high(&mut self, size: u64, alignment: u64) -> Option<Range> {
        let last = end(self.bank).checked_sub(size)? / alignment;
        let first = self.bank.start.div_ceil(alignment);
        self.claim(&mut (first..=last).rev().map(|index| index * alignment), size)
    }

    fn claim(&mut self, starts: &mut dyn Iterator<Item = u64>, size: u64) -> Option<Range> {
        let range = starts.map(|start| Range { start, size }).find(|range| self.is_free(*range))?;
        self.take(range).ok()?;
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn ranges_keep_clear_of_each_other() {
        let mut plan = Plan::new(Range { start: 1024 * MIB, size: 64 * MIB });
        plan.take(Range { start: 1030 * MIB, size: MIB }).unwrap();
        plan.take(Range { start: 1087 * MIB, size: MIB }).unwrap();
        assert_eq!(plan.low(1025 * MIB, 8 * MIB, 2 * MIB).unwrap().start, 1032 * MIB);
        assert_eq!(plan.low(0, 4 * MIB, 2 * MIB).unwrap().start, 1024 * MIB);
        assert_eq!(plan.high(32 * MIB, 2 * MIB).unwrap().start, 1054 * MIB);
        assert_eq!(plan.high(32 * MIB, 2 * MIB), None);
        assert_eq!(plan.low(0, u64::MAX, 2 * MIB), None);
    }

    #[test]
    fn a_full_plan_says_so() {
        let mut plan = Plan::new(Range { start: 0, size: MIB });
        for _ in 0..64 {
            plan.take(Range::default()).unwrap();
        }
        assert_eq!(plan.take(Range::default()), Err(TooMany));
    }
}
