//! Writes of the guest's to IA32_APIC_BASE: where the APIC's page is, in which mode it is, and whether it is on (Intel SDM vol.
//! 3A, "x2APIC State Transitions"; AMD APM vol. 2, 16.9).
//!
//! Processors reach each other by NMIs, through their APICs. So the APIC stays on, whatever the guest writes: one that is off
//! takes no NMI, and sends none. The guest that turns it off finds it as after a reset, disabled by software. And no
//! processor goes to a mode in which it could not name all others, or has another id than the one they know.

use super::{BASE_MASK, ENABLED, Mode, X2APIC_ENABLED};

/// The boot processor. No software's to change.
const BOOT_PROCESSOR: u64 = 1 << 8;
/// Ids from here on have no place in xAPIC mode's 8 bits, of which the last value means everybody.
const XAPIC_IDS: u32 = 0xFF;

/// The local APIC as the guest has it, where that is not how the hardware is.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuestApic {
    /// The guest has turned it off.
    pub(super) off: bool,
}

/// What of the machine's ids a change of mode depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ids {
    /// The highest one of any processor.
    pub(super) highest: u32,
    /// This processor has the same one in both modes.
    pub(super) same_in_both_modes: bool,
}

/// What such a write does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BaseWrite {
    /// The guest gets #GP.
    Refuse,
    /// The hardware takes the value, or refuses it.
    Write(u64),
    /// The guest's APIC is off from now on.
    TurnOff,
    /// It is on again, in the mode that the hardware has kept.
    TurnOn,
    /// It is on again, in xAPIC mode, to which the hardware has to go from x2APIC mode: by these values in this order.
    ReturnToPage([u64; 2]),
}

/// What the write of `wanted` does, where the hardware has `current`.
pub(super) fn decide(current: u64, guest: GuestApic, wanted: u64, ids: Ids) -> BaseWrite {
    let hardware = Mode::of_base(current);
    let (from, to) = (if guest.off { Mode::Off } else { hardware }, Mode::of_base(wanted));
    let is_mode = wanted & ENABLED != 0 || wanted & X2APIC_ENABLED == 0;
    if (wanted ^ current) & BASE_MASK != 0 || !is_mode || hardware == Mode::Off {
        return BaseWrite::Refuse;
    }
    let value = wanted & !BOOT_PROCESSOR | current & BOOT_PROCESSOR;
    match (from, to) {
        (_, Mode::Off) => BaseWrite::TurnOff,
        (Mode::Off, Mode::XApic) if hardware == Mode::XApic => BaseWrite::TurnOn,
        (Mode::Off, Mode::XApic) if ids.highest < XAPIC_IDS => {
            BaseWrite::ReturnToPage([value & !ENABLED, value])
        }
        (Mode::XApic, Mode::X2Apic) if !ids.same_in_both_modes => BaseWrite::Refuse,
        (Mode::XApic, Mode::XApic | Mode::X2Apic) | (Mode::X2Apic, Mode::X2Apic) => BaseWrite::Write(value),
        // Ids would be lost, or the processor has no such transition.
        (Mode::Off | Mode::X2Apic, _) => BaseWrite::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 0xFEE0_0000;
    const OFF: u64 = PAGE;
    const XAPIC: u64 = PAGE | ENABLED;
    const X2APIC: u64 = XAPIC | X2APIC_ENABLED;
    const IDS: Ids = Ids { highest: 254, same_in_both_modes: true };
    const ON: GuestApic = GuestApic { off: false };
    const TURNED_OFF: GuestApic = GuestApic { off: true };

    #[test]
    fn an_os_takes_the_ways_between_the_modes_that_the_manuals_have() {
        assert_eq!(decide(XAPIC, ON, X2APIC, IDS), BaseWrite::Write(X2APIC));
        assert_eq!(decide(XAPIC, ON, XAPIC, IDS), BaseWrite::Write(XAPIC));
        assert_eq!(decide(X2APIC, ON, X2APIC, IDS), BaseWrite::Write(X2APIC));
        assert_eq!(decide(X2APIC, ON, XAPIC, IDS), BaseWrite::Refuse, "not at once");
        assert_eq!(decide(X2APIC, ON, OFF, IDS), BaseWrite::TurnOff);
        assert_eq!(decide(X2APIC, TURNED_OFF, XAPIC, IDS), BaseWrite::ReturnToPage([OFF, XAPIC]));
        assert_eq!(decide(X2APIC, TURNED_OFF, X2APIC, IDS), BaseWrite::Refuse, "not by one write");
    }

    #[test]
    fn the_hardware_is_never_left_off() {
        for current in [XAPIC, X2APIC] {
            for guest in [ON, TURNED_OFF] {
                for wanted in [OFF, XAPIC, X2APIC, PAGE | X2APIC_ENABLED] {
                    let left = match decide(current, guest, wanted, IDS) {
                        BaseWrite::Write(value) | BaseWrite::ReturnToPage([_, value]) => value,
                        BaseWrite::Refuse | BaseWrite::TurnOff | BaseWrite::TurnOn => current,
                    };
                    assert_ne!(Mode::of_base(left), Mode::Off, "{current:#x} {guest:?} {wanted:#x}");
                }
            }
        }
        assert_eq!(decide(XAPIC, ON, OFF, IDS), BaseWrite::TurnOff);
        assert_eq!(decide(XAPIC, TURNED_OFF, OFF, IDS), BaseWrite::TurnOff);
        assert_eq!(decide(XAPIC, TURNED_OFF, XAPIC, IDS), BaseWrite::TurnOn);
    }

    #[test]
    fn no_id_is_lost() {
        for highest in [255, 256, u32::MAX] {
            let ids = Ids { highest, ..IDS };
            assert_eq!(decide(X2APIC, TURNED_OFF, XAPIC, ids), BaseWrite::Refuse, "{highest}");
            assert_eq!(decide(XAPIC, TURNED_OFF, XAPIC, ids), BaseWrite::TurnOn, "{highest}");
        }
        let another = Ids { same_in_both_modes: false, ..IDS };
        assert_eq!(decide(XAPIC, ON, X2APIC, another), BaseWrite::Refuse);
    }

    #[test]
    fn the_page_stays_and_so_does_the_boot_processor() {
        for wanted in [XAPIC + 0x1000, X2APIC + (1 << 40), OFF - 0x1000] {
            assert_eq!(decide(XAPIC, ON, wanted, IDS), BaseWrite::Refuse);
        }
        assert_eq!(
            decide(XAPIC | BOOT_PROCESSOR, ON, X2APIC, IDS),
            BaseWrite::Write(X2APIC | BOOT_PROCESSOR)
        );
        assert_eq!(decide(XAPIC, ON, X2APIC | BOOT_PROCESSOR, IDS), BaseWrite::Write(X2APIC));
        let returned = decide(X2APIC | BOOT_PROCESSOR, TURNED_OFF, XAPIC, IDS);
        assert_eq!(returned, BaseWrite::ReturnToPage([OFF | BOOT_PROCESSOR, XAPIC | BOOT_PROCESSOR]));
    }
}
