//! Processors that the firmware has left in a spin table, as the device tree tells of them.

use plinth_launch::Range;

/// A processor that waits in a spin table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spinning {
    pub(crate) pp: usize,
    pub(crate) affinity: u64,
    /// The address of its release word.
    pub(crate) release: u64,
    /// The device tree reports the CPU as failed.
    pub(crate) failed: bool,
}

impl Spinning {
    /// Whether the release word is valid: in `memory`, naturally aligned, and outside the hypervisor's memory.
    pub(crate) const fn has_word(&self, memory_end: u64, own: Range) -> bool {
        let Some(end) = self.release.checked_add(8) else { return false };
        let is_own = self.release < own.start.saturating_add(own.size) && end > own.start;
        self.release != 0 && self.release.is_multiple_of(8) && end <= memory_end && !is_own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_in_memory_and_not_the_hypervisors() {
        let own = Range { start: 0x3000_0000, size: 0x200_0000 };
        let good =
            |release| Spinning { pp: 1, affinity: 1, release, failed: false }.has_word(0x3B40_0000, own);
        assert!([0xD8, 0x2FFF_FFF8, 0x3200_0000, 0x3B3F_FFF8].iter().all(|at| good(*at)));
        for at in [0, 0xDC, 0x3000_0000, 0x31FF_FFF8, 0x3B40_0000, u64::MAX - 7, u64::MAX] {
            assert!(!good(at), "{at:#x}");
        }
    }
}
