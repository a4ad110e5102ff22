//! What an extension delivers to a VS.

use crate::abi::{EVENT_ERROR_CODE, EVENT_EXCEPTION, EVENT_INTERRUPT, EVENT_NMI, EVENT_WITHDRAW};

/// An event for [`crate::Plinth::vs_inject`] and [`crate::Resume::Inject`]; kept as the kernel takes it, so that
/// it travels in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Event(u64);

impl Event {
    /// A non-maskable interrupt.
    pub const NMI: Self = Self(EVENT_NMI);

    /// #UD: an instruction that is not there (AMD64 APM vol. 2, 8.2.7).
    #[cfg(target_arch = "x86_64")]
    pub const UNDEFINED: Self = Self::exception(6);

    /// The exception for an instruction that is not there: exception class 0 (Arm ARM, ESR_ELx).
    #[cfg(target_arch = "aarch64")]
    pub const UNDEFINED: Self = Self::exception(0);

    /// #GP(0): an access that is not allowed (AMD64 APM vol. 2, 8.2.14).
    #[cfg(target_arch = "x86_64")]
    pub const GENERAL_PROTECTION: Self = Self::exception_with_code(13, 0);

    /// What an access that is not allowed finds: x86 #GP(0), Arm an undefined instruction.
    #[cfg(target_arch = "x86_64")]
    pub const REFUSED: Self = Self::GENERAL_PROTECTION;

    /// What an access that is not allowed finds: x86 #GP(0), Arm an undefined instruction.
    #[cfg(target_arch = "aarch64")]
    pub const REFUSED: Self = Self::UNDEFINED;

    /// A processor exception without an error code; x86: vector 0 to 31, not 2.
    pub const fn exception(vector: u8) -> Self {
        Self(EVENT_EXCEPTION | vector as u64)
    }

    /// A processor exception with an error code.
    pub const fn exception_with_code(vector: u8, code: u32) -> Self {
        Self(EVENT_EXCEPTION | EVENT_ERROR_CODE | vector as u64 | (code as u64) << 32)
    }

    /// An interrupt for a VM other than the root VM, which takes it as soon as it can; x86: vector 32 to 255, Arm: 0 for
    /// the IRQ, 1 for the FIQ, which stays raised until it is [withdrawn](Self::withdraw).
    pub const fn interrupt(number: u8) -> Self {
        Self(EVENT_INTERRUPT | number as u64)
    }

    /// Takes an interrupt back, if it waits.
    pub const fn withdraw(number: u8) -> Self {
        Self(EVENT_WITHDRAW | number as u64)
    }

    /// The event as [`crate::abi::Call::VsInject`] takes it.
    pub const fn raw(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Event;

    #[test]
    fn events_are_coded_as_the_abi_says() {
        assert_eq!(Event::NMI.raw(), 0x200);
        assert_eq!(Event::UNDEFINED.raw(), 0x306);
        assert_eq!(Event::GENERAL_PROTECTION.raw(), 0xB0D);
        assert_eq!(Event::exception_with_code(14, 6).raw(), 0x6_0000_0B0E);
        assert_eq!(Event::interrupt(0x40).raw(), 0x440);
        assert_eq!(Event::withdraw(0x40).raw(), 0x540);
    }
}
