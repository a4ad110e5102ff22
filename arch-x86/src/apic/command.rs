//! Interrupt commands: what is written to the interrupt command register, and what it means (Intel SDM vol. 3A, "Interrupt
//! Command Register (ICR)"; AMD APM vol. 2, 16.5).

use plinth_hal::Target;

use super::Mode;

/// Bits 10:8 of a command.
const MODE_SHIFT: u32 = 8;
const NMI: u32 = 4;
const INIT: u32 = 5;
const STARTUP: u32 = 6;
/// The destination is a set of logical ids.
const LOGICAL: u32 = 1 << 11;
const ASSERT: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;
/// Bits 19:18, the destination shorthand: the sender, all, all but the sender.
const SHORTHAND_SHIFT: u32 = 18;
const TO_SELF: u32 = 1;
const TO_ALL: u32 = 2;
const TO_OTHERS: u32 = 3;
/// x2APIC mode: these must be zero.
const RESERVED: u32 = 0xFFF3_2000;

/// A command and whom it is sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Command {
    /// The low half of the register.
    pub(super) low: u32,
    /// An APIC's id, or a set of logical ones. 8 bits in xAPIC mode.
    pub(super) destination: u32,
}

/// What a command makes of its targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// They take an interrupt.
    Interrupt,
    /// They take a non-maskable one.
    Nmi,
    /// They are reset and wait for a startup IPI.
    Init,
    /// They start at this page, if they wait for it.
    Startup(u8),
    /// They synchronize arbitration ids, if they are old enough to have any: nothing.
    Nothing,
}

impl Command {
    /// An NMI to the processor with this id.
    pub(super) const fn nmi(id: u32) -> Self {
        Self { low: NMI << MODE_SHIFT | ASSERT, destination: id }
    }

    /// An INIT to the processor with this id.
    pub(super) const fn init(id: u32) -> Self {
        Self { low: INIT << MODE_SHIFT | ASSERT, destination: id }
    }

    /// An INIT to all processors but this one.
    pub(super) const fn init_others() -> Self {
        Self { low: Self::init(0).low | TO_OTHERS << SHORTHAND_SHIFT, destination: 0 }
    }

    /// A startup IPI to the processor with this id; it starts at the page with this number.
    pub(super) const fn startup(id: u32, page: u8) -> Self {
        Self { low: STARTUP << MODE_SHIFT | ASSERT | page as u32, destination: id }
    }

    /// A fixed interrupt to this processor itself.
    pub(super) const fn to_self(vector: u8) -> Self {
        Self { low: ASSERT | TO_SELF << SHORTHAND_SHIFT | vector as u32, destination: 0 }
    }

    /// What it is for.
    pub(super) const fn purpose(self) -> Purpose {
        match self.low >> MODE_SHIFT & 7 {
            NMI => Purpose::Nmi,
            INIT if self.low & (ASSERT | LEVEL) == LEVEL => Purpose::Nothing,
            INIT => Purpose::Init,
            STARTUP => Purpose::Startup(self.low as u8),
            _ => Purpose::Interrupt,
        }
    }

    /// Whom it means, sent in this mode.
    pub(super) fn target(self, mode: Mode) -> Target {
        let everybody = match mode {
            Mode::X2Apic => u32::MAX,
            Mode::XApic | Mode::Off => 0xFF,
        };
        match self.low >> SHORTHAND_SHIFT & 3 {
            // "Self" makes no sense for INIT and SIPI; the hardware ignores it (AMD APM vol. 2, table 16-5).
            TO_SELF => Target::Nobody,
            TO_ALL => Target::All,
            TO_OTHERS => Target::Others,
            // By physical and by logical ids alike (Intel SDM vol. 3A, "Determining IPI Destination").
            _ if self.destination == everybody => Target::All,
            _ if self.low & LOGICAL != 0 => Target::Logical(self.destination),
            _ => Target::Id(self.destination),
        }
    }

    /// Whether a bit is set that must not be in x2APIC mode.
    pub(super) const fn has_reserved_bits(self) -> bool {
        self.low & RESERVED != 0
    }
}
