//! The registers of the local APIC, by their offsets in its page (Intel SDM vol. 3A, "Local APIC Register Address Map"; AMD
//! APM vol. 2, 16.3.2).
//!
//! A [`Register`] is always one of the list: what is stored goes to the register that was looked up, and nowhere else.

use crate::msr;

/// A register of the local APIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Register(u16);

impl Register {
    pub(crate) const ID: Self = Self(0x20);
    pub(crate) const VERSION: Self = Self(0x30);
    pub(crate) const TASK_PRIORITY: Self = Self(0x80);
    pub(crate) const END_OF_INTERRUPT: Self = Self(0xB0);
    pub(crate) const LOGICAL_DESTINATION: Self = Self(0xD0);
    pub(crate) const DESTINATION_FORMAT: Self = Self(0xE0);
    pub(crate) const SPURIOUS: Self = Self(0xF0);
    /// The local vector of corrected machine checks, where there is one.
    pub(crate) const CMCI: Self = Self(0x2F0);
    /// The low half of the interrupt command register: writing it sends.
    pub(crate) const COMMAND: Self = Self(0x300);
    /// Its high half.
    pub(crate) const DESTINATION: Self = Self(0x310);
    pub(crate) const TIMER: Self = Self(0x320);
    pub(crate) const LINT0: Self = Self(0x350);
    /// Writing it starts the timer, 0 stops it.
    pub(crate) const TIMER_COUNT: Self = Self(0x380);
    pub(crate) const TIMER_LEFT: Self = Self(0x390);
    pub(crate) const TIMER_DIVISOR: Self = Self(0x3E0);
    /// The entries of the local vector table that every processor has.
    pub(crate) const LOCAL_VECTORS: [Self; 6] =
        [Self(0x320), Self(0x330), Self(0x340), Self(0x350), Self(0x360), Self(0x370)];

    /// The word of the in-service register with the bit of `vector`.
    pub(crate) const fn in_service(vector: u8) -> Self {
        Self(0x100 + vector as u16 / 32 * 0x10)
    }

    /// The word of the trigger-mode register with the bit of `vector`.
    pub(crate) const fn trigger_mode(vector: u8) -> Self {
        Self(0x180 + vector as u16 / 32 * 0x10)
    }

    /// The register that begins at this offset of the page, if one does.
    pub(crate) const fn at(offset: u64) -> Option<Self> {
        const LAST: u64 = 0xFFF;
        if offset > LAST || !offset.is_multiple_of(16) {
            return None;
        }
        match offset {
            0x20 | 0x30 | 0x80..=0xF0 | 0x100..=0x280 | 0x2F0..=0x390 | 0x3E0 => Some(Self(offset as u16)),
            // AMD's extended space: features, control, specific end of interrupt, enables, local vectors.
            0x400..=0x420 | 0x480..=0x4F0 | 0x500..=0x530 => Some(Self(offset as u16)),
            _ => None,
        }
    }

    /// Whether a write of the guest's to it does anything. By their ids processors find each other: [`Self::ID`] keeps its value,
    /// and so does AMD's extended control, which says how wide an id is.
    pub(crate) const fn is_writable(self) -> bool {
        matches!(
            self.0,
            0x80 | 0xB0 | 0xD0..=0xF0 | 0x280 | 0x2F0..=0x380 | 0x3E0 | 0x420 | 0x480..=0x4F0 | 0x500..=0x530
        )
    }

    /// Its offset in the page.
    pub(crate) const fn offset(self) -> u64 {
        self.0 as u64
    }

    /// The MSR that it is in x2APIC mode.
    pub(crate) const fn msr(self) -> u32 {
        msr::index::X2APIC_FIRST + (self.0 >> 4) as u32
    }
}

const _: () = assert!(Register::COMMAND.msr() == msr::index::X2APIC_ICR);
const _: () = assert!(Register::LINT0.msr() == msr::index::X2APIC_LINT0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_begin_at_multiples_of_sixteen() {
        for offset in 0..0x2000 {
            let Some(register) = Register::at(offset) else { continue };
            assert_eq!((register.offset(), offset % 16), (offset, 0));
            assert_eq!(u64::from(register.msr()), 0x800 + offset / 16);
        }
    }

    #[test]
    fn those_with_names_are_in_the_list() {
        let named = [
            Register::ID,
            Register::VERSION,
            Register::CMCI,
            Register::TASK_PRIORITY,
            Register::END_OF_INTERRUPT,
            Register::LOGICAL_DESTINATION,
            Register::DESTINATION_FORMAT,
            Register::SPURIOUS,
            Register::COMMAND,
            Register::DESTINATION,
            Register::TIMER,
            Register::LINT0,
            Register::TIMER_COUNT,
            Register::TIMER_LEFT,
            Register::TIMER_DIVISOR,
        ];
        let words =
            (0..=u8::MAX).flat_map(|vector| [Register::in_service(vector), Register::trigger_mode(vector)]);
        for register in named.into_iter().chain(Register::LOCAL_VECTORS).chain(words) {
            assert_eq!(Register::at(register.offset()), Some(register));
        }
        assert_eq!(Register::in_service(255).offset(), 0x170);
        assert_eq!(Register::trigger_mode(32).offset(), 0x190);
    }

    #[test]
    fn what_is_read_only_or_not_there_takes_no_writes() {
        for offset in [0x30, 0x90, 0xA0, 0x100, 0x170, 0x180, 0x200, 0x270, 0x390, 0x400, 0x410] {
            assert!(Register::at(offset).is_some_and(|register| !register.is_writable()), "{offset:#x}");
        }
        for offset in
            [0, 0x10, 0x40, 0x70, 0x290, 0x2E0, 0x3A0, 0x3D0, 0x3F0, 0x430, 0x470, 0x540, 0xFF0, 0x1080]
        {
            assert_eq!(Register::at(offset), None, "{offset:#x}");
        }
        assert!(!Register::ID.is_writable());
    }
}
