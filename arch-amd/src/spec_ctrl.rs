//! SPEC_CTRL on processors that virtualize it (CPUID 8000_000A EDX[20]). The VMCB holds the guest's value at
//! 0x2E0 of the state save area (AMD APM vol. 2, appendix B). While a guest runs, the OR of the guest's value
//! and the host's value applies.
//!
//! At the launch the kernel moves the OS's value into the root VM's VMCB and sets the host's value to 0; at
//! the departure it moves the value back. If the host kept the OS's value, a bit that the OS clears later
//! would stay in effect. On processors that do not virtualize the register, the root VM keeps it in the
//! processor and the kernel does not touch it.

use plinth_arch_x86::msr;

/// Sets SPEC_CTRL to 0 and returns the OS's value; does nothing and returns 0 if the processor does not
/// virtualize it.
pub(crate) fn take(virtualized: bool) -> u64 {
    exchange(virtualized, 0, access)
}

/// Writes the OS's value back, if the processor virtualizes SPEC_CTRL.
pub(crate) fn give_back(virtualized: bool, value: u64) {
    exchange(virtualized, value, access);
}

fn exchange(virtualized: bool, value: u64, access: impl FnOnce(u64) -> u64) -> u64 {
    if virtualized { access(value) } else { 0 }
}

/// Writes SPEC_CTRL and returns its earlier value.
fn access(value: u64) -> u64 {
    // SAFETY: a processor that virtualizes SPEC_CTRL has the MSR. `value` is 0 or was read from the MSR.
    unsafe {
        let before = msr::read(msr::index::SPEC_CTRL);
        msr::write(msr::index::SPEC_CTRL, value);
        before
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    const IBRS_AND_SSBD: u64 = 0b101;

    #[test]
    fn the_oss_value_leaves_the_processor_and_comes_back() {
        let register = Cell::new(IBRS_AND_SSBD);
        let saved = exchange(true, 0, |value| register.replace(value));
        assert_eq!((saved, register.get()), (IBRS_AND_SSBD, 0));
        exchange(true, saved, |value| register.replace(value));
        assert_eq!(register.get(), IBRS_AND_SSBD);
    }

    #[test]
    fn a_register_that_is_not_virtualized_stays_as_it_is() {
        let register = Cell::new(IBRS_AND_SSBD);
        assert_eq!(exchange(false, 7, |value| register.replace(value)), 0);
        assert_eq!(register.get(), IBRS_AND_SSBD);
    }
}
