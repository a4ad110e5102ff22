//! The deadline of a run, by the VMX-preemption timer: the guest exits at a time, whatever it does (Intel SDM
//! vol. 3C, "VMX-Preemption Timer").
//!
//! The timer counts only in VMX non-root operation, so the kernel loads it from the deadline before each
//! entry. A deadline beyond the timer's 32 bits takes several rounds. The timer must not expire early. It
//! counts changes of a bit of the TSC, and the first change may be due at once, so the kernel adds one count.
//! If the deadline is not reached at the exit, the kernel enters the guest again.

use plinth_arch_x86::time;
use plinth_hal::{Exit, ExitClass};

use crate::vmcs::controls::PIN_TIMER;
use crate::vmcs::field::{PIN_CONTROLS, TIMER_VALUE};
use crate::vs::{TIMER, VmxVs};

/// Makes the guest exit at `deadline`, a value of the TSC, or never if `None`. Does nothing on a processor
/// without the timer.
pub(crate) fn set(vs: &mut VmxVs, deadline: Option<u64>) {
    if vs.deadline == deadline || vs.features.timer_bit.is_none() {
        return;
    }
    vs.deadline = deadline;
    vs.before_entry = vs.before_entry & !TIMER | if deadline.is_some() { TIMER } else { 0 };
    vs.with(|vmcs| {
        let pin = vmcs.read(PIN_CONTROLS) & !PIN_TIMER;
        // SAFETY: the control adds a reason to exit, or removes one that this module alone uses. The
        // processor has the timer.
        unsafe { vmcs.control(PIN_CONTROLS, pin | if deadline.is_some() { PIN_TIMER } else { 0 }) };
    });
}

/// Loads the timer with the ticks that are left until `deadline`.
pub(crate) fn load(vs: &VmxVs, deadline: u64) {
    let left = deadline.saturating_sub(time::counter());
    let value = rounds(left, vs.features.timer_bit.unwrap_or(0));
    vs.with(|vmcs| vmcs.write(TIMER_VALUE, value));
}

/// Handles the exit by the timer. Returns `None` if the deadline is not reached: it was too far away for the
/// timer.
pub(crate) fn exit(vs: &VmxVs) -> Option<Exit> {
    let reached = vs.deadline.is_some_and(|deadline| time::counter() >= deadline);
    reached.then_some(Exit::of(ExitClass::Timer))
}

/// The timer's value for `ticks` of the TSC: the number of changes of `bit` after which at least so many
/// ticks have passed.
const fn rounds(ticks: u64, bit: u8) -> u32 {
    match ticks.unbounded_shr(bit as u32) {
        _ if ticks == 0 => 0,
        rounds if rounds >= u32::MAX as u64 => u32::MAX,
        rounds => rounds as u32 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_never_ends_too_soon() {
        assert_eq!(rounds(0, 5), 0);
        assert_eq!(rounds(1, 5), 1);
        assert_eq!(rounds(32, 5), 2, "the bit may be about to change");
        assert_eq!(rounds(1000, 0), 1001);
    }

    #[test]
    fn what_is_beyond_32_bits_takes_rounds() {
        assert_eq!(rounds(u64::MAX, 0), u32::MAX);
        assert_eq!(rounds((1 << 32) - 2, 0), u32::MAX);
        assert_eq!(rounds(u64::MAX, 31), u32::MAX);
    }
}
