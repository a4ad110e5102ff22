//! SPEC_CTRL on processors that virtualize it (CPUID 8000_000A EDX[20]; AMD APM vol. 2, appendix B: the VMCB has the guest's at
//! 0x2E0 of the state save area). While a guest runs, what counts is its own value and the host's together.
//!
//! So the OS's value moves into its VMCB when Plinth launches, and back into the processor when it leaves. The host's own is 0: else
//! a bit that the OS had set at the launch would stay in force after it has cleared it. On all other processors the register is
//! the OS's throughout.

use plinth_arch_x86::msr;

/// Takes the OS's value out of the processor; 0 where it stays there.
pub(crate) fn take(virtualized: bool) -> u64 {
    exchange(virtualized, 0, access)
}

/// Puts the OS's value back.
pub(crate) fn give_back(virtualized: bool, value: u64) {
    exchange(virtualized, value, access);
}

fn exchange(virtualized: bool, value: u64, access: impl FnOnce(u64) -> u64) -> u64 {
    if virtualized { access(value) } else { 0 }
}

/// Writes the register, and returns what it held.
fn access(value: u64) -> u64 {
    // SAFETY: a processor that virtualizes the register has it; it takes 0, and what was read from it.
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
