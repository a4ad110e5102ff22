//! How long a turn of the extension may last on a PP, and when that PP looks at its own turn and at the others'.
//!
//! Private to this file: a limit never changes while the PP runs, and no PP looks at the others more often than [`LOOKS`]
//! times in the time of a turn.

use plinth_hal::HostCpu;

use crate::ipi::wait;

/// A PP looks at its own turn once in so many system calls.
const CALLS: u32 = 64;
/// How often a PP looks at the others' turns in the time of a turn.
const LOOKS: u64 = 8;

/// A PP's part of the watchdog.
pub(crate) struct TurnBound {
    /// Ticks of the PP's counter; `u64::MAX` for no bound.
    limit: u64,
    /// When to look at the others' turns again, in ticks.
    next_look: u64,
    /// System calls answered so far. The count wraps.
    calls: u32,
}

impl TurnBound {
    /// A bound of so many milliseconds; none for 0.
    pub(crate) fn new(milliseconds: u64, cpu: &impl HostCpu) -> Self {
        let limit = if milliseconds == 0 { u64::MAX } else { wait::ticks(milliseconds, cpu) };
        Self { limit, next_look: 0, calls: 0 }
    }

    /// The ticks that a turn may last; `u64::MAX` for no bound.
    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether there is a bound.
    pub(crate) const fn is_set(&self) -> bool {
        self.limit != u64::MAX
    }

    /// Counts a system call. Returns whether to look at the PP's own turn now.
    #[inline]
    pub(crate) fn counts_call(&mut self) -> bool {
        self.calls = self.calls.wrapping_add(1);
        self.calls.is_multiple_of(CALLS)
    }

    /// Whether to look at the others' turns now. Returns the ticks until the next look.
    pub(crate) fn looks_at_others(&mut self, now: u64) -> Option<u64> {
        if !self.is_set() || now < self.next_look {
            return None;
        }
        let pause = self.limit / LOOKS;
        self.next_look = now.saturating_add(pause);
        Some(pause)
    }
}
