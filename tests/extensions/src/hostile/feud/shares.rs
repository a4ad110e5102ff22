//! How many calls of each kind a PP has made, and how many of them the kernel has carried out.

use core::fmt::{self, Display, Formatter};
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::abi::Call;

use crate::random::Random;

/// Kinds of calls, each with its figures.
pub(super) struct Shares<const N: usize> {
    kinds: [Call; N],
    made: [AtomicU64; N],
    carried_out: [AtomicU64; N],
}

impl<const N: usize> Shares<N> {
    pub(super) const fn new(kinds: [Call; N]) -> Self {
        Self { kinds, made: [const { AtomicU64::new(0) }; N], carried_out: [const { AtomicU64::new(0) }; N] }
    }

    /// Any of the kinds.
    pub(super) fn pick(&self, random: &mut Random) -> Call {
        self.kinds[random.below(N as u64) as usize]
    }

    /// Counts a call.
    pub(super) fn count(&self, call: Call, carried_out: bool) {
        if let Some(place) = self.kinds.iter().position(|kind| *kind == call) {
            self.made[place].fetch_add(1, Ordering::Relaxed);
            self.carried_out[place].fetch_add(u64::from(carried_out), Ordering::Relaxed);
        }
    }

    /// How many calls there were, and how many of them the kernel has refused.
    pub(super) fn total(&self) -> (u64, u64) {
        let sum = |counts: &[AtomicU64; N]| counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let made: u64 = sum(&self.made);
        (made, made - sum(&self.carried_out))
    }

    /// Whether the kernel has carried out some calls of each kind.
    pub(super) fn are_all_met(&self) -> bool {
        self.carried_out.iter().all(|count| count.load(Ordering::Relaxed) != 0)
    }
}

impl<const N: usize> Display for Shares<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for ((call, made), carried_out) in self.kinds.iter().zip(&self.made).zip(&self.carried_out) {
            let [made, carried_out] = [made, carried_out].map(|count| count.load(Ordering::Relaxed));
            write!(f, " {call:?} {carried_out}/{made}")?;
        }
        Ok(())
    }
}
