//! The VMX-preemption timer: a guest exits at a time, whatever it does (Intel SDM vol. 3C, "VMX-Preemption Timer").
//!
//! It counts only while the guest runs, so it is loaded before each entry, from the deadline; a deadline beyond its 32 bits
//! takes several rounds. It never ends too soon: the bit of the TSC that it counts by may be about to change, and one
//! round more or less costs one exit that nobody sees.

use plinth_arch_x86::time;
use plinth_hal::{Exit, ExitClass};

use crate::vmcs::controls::PIN_TIMER;
use crate::vmcs::field::{PIN_CONTROLS, TIMER_VALUE};
use crate::vs::{TIMER, VmxVs};

/// Has the guest exit at `deadline`, or at no time. A processor without the timer leaves it to the kernel.
pub(crate) fn set(vs: &mut VmxVs, deadline: Option<u64>) {
    if vs.deadline == deadline || vs.features.timer_bit.is_none() {
        return;
    }
    vs.deadline = deadline;
    vs.before_entry = vs.before_entry & !TIMER | if deadline.is_some() { TIMER } else { 0 };
    vs.with(|vmcs| {
        let pin = vmcs.read(PIN_CONTROLS) & !PIN_TIMER;
        // SAFETY: one more reason to exit, or one less that only this module asks for; the processor offers it.
        unsafe { vmcs.control(PIN_CONTROLS, pin | if deadline.is_some() { PIN_TIMER } else { 0 }) };
    });
}

/// Loads what is left until `deadline`.
pub(crate) fn load(vs: &VmxVs, deadline: u64) {
    let left = deadline.saturating_sub(time::counter());
    let value = rounds(left, vs.features.timer_bit.unwrap_or(0));
    vs.with(|vmcs| vmcs.write(TIMER_VALUE, value));
}

/// The timer has run down. `None` where the deadline is further away than it can count.
pub(crate) fn exit(vs: &VmxVs) -> Option<Exit> {
    let reached = vs.deadline.is_some_and(|deadline| time::counter() >= deadline);
    reached.then_some(Exit::of(ExitClass::Timer))
}

/// How often a bit of the TSC must change until so many ticks have passed for certain.
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
