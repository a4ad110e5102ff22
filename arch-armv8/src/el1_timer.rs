//! The timers of EL1 (Arm ARM, D12.2).

use crate::syndrome::register_number;

pub(crate) const CNTP_CTL: u64 = register_number(3, 3, 14, 2, 1);
pub(crate) const CNTP_CVAL: u64 = register_number(3, 3, 14, 2, 2);
pub(crate) const CNTV_CTL: u64 = register_number(3, 3, 14, 3, 1);
pub(crate) const CNTV_CVAL: u64 = register_number(3, 3, 14, 3, 2);

/// The interrupts of CNTP and CNTV (Arm BSA, "PPI assignments").
pub(crate) const INTERRUPTS: [u32; 2] = [30, 27];

/// A timer that is going to raise its interrupt, or does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    /// When, in ticks of CNTPCT_EL0: CNTVOFF_EL2 is 0, so all timers count alike.
    pub(crate) at: u64,
    /// Its private interrupt.
    pub(crate) ppi: u32,
}

/// What a timer is going to do, by its control register and its compare value; `None` for one that is off or masked.
pub(crate) const fn ring(ppi: u32, control: u64, at: u64) -> Option<Ring> {
    const ENABLE: u64 = 1 << 0;
    const MASK: u64 = 1 << 1;
    if control & (ENABLE | MASK) == ENABLE { Some(Ring { at, ppi }) } else { None }
}

/// When another VM's turn has to end for these timers. One that rings already must be let in by the interrupt controller: an OS
/// that only looks at its timer, and never lets its interrupt in, would otherwise give the other VM no time at all.
pub(crate) fn first(
    rings: impl Iterator<Item = Ring>,
    now: u64,
    is_let_in: impl Fn(u32) -> bool,
) -> Option<u64> {
    rings.filter(|ring| ring.at > now || is_let_in(ring.ppi)).map(|ring| ring.at).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_can_interrupt_rings() {
        let at = |control| ring(27, control, 77).map(|ring| ring.at);
        assert_eq!([0, 1, 2, 3, 4, 5, 7].map(at), [None, Some(77), None, None, None, Some(77), None]);
    }

    #[test]
    fn the_first_ends_a_turn() {
        let rings = |times: [u64; 2]| times.into_iter().zip(INTERRUPTS).map(|(at, ppi)| Ring { at, ppi });
        let at = |times, now| first(rings(times), now, |ppi| ppi == 27);
        assert_eq!(at([9, 5], 1), Some(5));
        assert_eq!(at([5, 9], 1), Some(5), "a later change of the controller's lets it in");
        assert_eq!(at([5, 9], 7), Some(9), "nobody is interrupted by the one that rings");
        assert_eq!(at([9, 5], 7), Some(5), "which is due");
        assert_eq!(first(core::iter::empty(), 0, |_| true), None);
    }
}
