//! What a write of the guest's to its local APIC does: decoded once, and only what the decoder returns is carried out.
//!
//! INIT, startup IPIs and NMIs are the kernel's to see to, and the APIC's id is how processors find each other. So a write
//! must not reach the hardware as another one than it was taken for. Whatever the manuals leave undefined has no effect:
//! an access that is not 4 bytes wide or does not begin at a register, and a register that is not there.

use plinth_hal::{ProcessorEvent, Target};

use super::Mode;
use super::command::{Command, Purpose};
use super::register::Register;
use crate::decode::Width;

/// A write of the guest's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    /// To the page.
    Page {
        /// Of its first byte in the page.
        offset: u64,
        /// Of the access.
        width: Width,
        /// What is written.
        value: u32,
        /// The APIC id or set in the register [`Register::DESTINATION`].
        destination: u32,
    },
    /// To an MSR of x2APIC mode.
    Msr {
        /// Its number.
        number: u32,
        /// What is written.
        value: u64,
    },
}

/// What a write does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ApicAccess {
    /// Nothing.
    Nothing,
    /// The guest gets #GP.
    Fault,
    /// The register takes the value. It is neither [`Register::COMMAND`] nor [`Register::ID`].
    Store(Register, u32),
    /// An interrupt, which goes out as it is.
    Send(Command),
    /// An NMI, which must reach only processors that run under the hypervisor.
    Nmi(Command, Target),
    /// A processor is started or stopped.
    Control(ProcessorEvent),
}

/// What the write does on an APIC in this mode.
pub(crate) fn decode(mode: Mode, write: Write) -> ApicAccess {
    match (mode, write) {
        (Mode::XApic, Write::Page { offset, width: Width::Double, value, destination }) => {
            match Register::at(offset) {
                Some(Register::COMMAND) => command(mode, Command { low: value, destination }),
                Some(register) if register.is_writable() => ApicAccess::Store(register, value),
                _ => ApicAccess::Nothing,
            }
        }
        // Other widths; or there is no page in this mode.
        (_, Write::Page { .. }) => ApicAccess::Nothing,
        (Mode::X2Apic, Write::Msr { number, value }) => register(number, value),
        // There are no MSRs in this mode.
        (_, Write::Msr { .. }) => ApicAccess::Fault,
    }
}

/// Of the MSRs of x2APIC mode only two exit: see [`crate::apic_access::owns`].
fn register(number: u32, value: u64) -> ApicAccess {
    let (low, high) = (value as u32, (value >> 32) as u32);
    if number == Register::COMMAND.msr() {
        let sent = Command { low, destination: high };
        return if sent.has_reserved_bits() { ApicAccess::Fault } else { command(Mode::X2Apic, sent) };
    }
    if number == Register::LINT0.msr() && high == 0 {
        return ApicAccess::Store(Register::LINT0, low);
    }
    ApicAccess::Fault
}

fn command(mode: Mode, command: Command) -> ApicAccess {
    let target = command.target(mode);
    match command.purpose() {
        Purpose::Interrupt => ApicAccess::Send(command),
        Purpose::Nmi => ApicAccess::Nmi(command, target),
        Purpose::Init => ApicAccess::Control(ProcessorEvent::Reset(target)),
        Purpose::Startup(page) => {
            ApicAccess::Control(ProcessorEvent::Start { target, entry: u64::from(page) })
        }
        Purpose::Nothing => ApicAccess::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Double, Width::Quad];
    const MODES: [Mode; 3] = [Mode::Off, Mode::XApic, Mode::X2Apic];
    const COMMAND: u64 = 0x300;
    /// One command of each kind: interrupt, NMI, INIT, its de-assertion, startup IPI.
    const COMMANDS: [u32; 5] = [0x40FB, 0x4400, 0x4500, 0x8500, 0x4699];

    fn page(offset: u64, width: Width, value: u32, destination: u32) -> ApicAccess {
        decode(Mode::XApic, Write::Page { offset, width, value, destination })
    }

    fn msr(value: u64) -> ApicAccess {
        decode(Mode::X2Apic, Write::Msr { number: 0x830, value })
    }

    fn reset(target: Target) -> ApicAccess {
        ApicAccess::Control(ProcessorEvent::Reset(target))
    }

    /// Whether what is done is what the manual says of the register that begins at the offset.
    fn is_as_written(offset: u64, value: u32, access: ApicAccess) -> bool {
        match access {
            ApicAccess::Nothing => {
                let register = Register::at(offset).filter(|register| register.is_writable());
                register.is_none() || offset == COMMAND && value == 0x8500
            }
            ApicAccess::Store(register, stored) => {
                register.offset() == offset
                    && stored == value
                    && !matches!(register, Register::COMMAND | Register::ID)
            }
            ApicAccess::Send(_) | ApicAccess::Nmi(..) | ApicAccess::Control(_) => offset == COMMAND,
            ApicAccess::Fault => false,
        }
    }

    #[test]
    fn every_offset_and_width_does_what_it_was_taken_for_or_nothing() {
        for offset in 0..4096 {
            for value in COMMANDS {
                for width in WIDTHS {
                    let access = page(offset, width, value, 1);
                    let right = match width {
                        Width::Double if offset.is_multiple_of(16) => is_as_written(offset, value, access),
                        _ => access == ApicAccess::Nothing,
                    };
                    assert!(right, "{offset:#x} {width:?}: {access:?}");
                }
            }
        }
    }

    #[test]
    fn the_command_register_is_one_offset() {
        let near = (COMMAND - 15..COMMAND + 16).filter(|offset| *offset != COMMAND);
        for offset in near {
            assert_eq!(page(offset, Width::Double, 0x4699, 1), ApicAccess::Nothing, "{offset:#x}");
        }
        let start = ProcessorEvent::Start { target: Target::Id(1), entry: 0x99 };
        assert_eq!(page(COMMAND, Width::Double, 0x4699, 1), ApicAccess::Control(start));
    }

    #[test]
    fn the_page_is_there_in_xapic_mode_alone() {
        for (mode, offset) in
            [Mode::Off, Mode::X2Apic].into_iter().flat_map(|mode| (0..4096).map(move |at| (mode, at)))
        {
            for value in COMMANDS {
                let write = Write::Page { offset, width: Width::Double, value, destination: 1 };
                assert_eq!(decode(mode, write), ApicAccess::Nothing, "{mode:?} {offset:#x}");
            }
        }
    }

    #[test]
    fn the_registers_are_msrs_in_x2apic_mode_alone() {
        for number in 0..=0x1000 {
            for mode in MODES {
                let access = decode(mode, Write::Msr { number, value: 0x4500 });
                let expected = match (mode, number) {
                    (Mode::X2Apic, 0x830) => reset(Target::Id(0)),
                    (Mode::X2Apic, 0x835) => ApicAccess::Store(Register::LINT0, 0x4500),
                    _ => ApicAccess::Fault,
                };
                assert_eq!(access, expected, "{mode:?} {number:#x}");
            }
        }
        let wide = Write::Msr { number: 0x835, value: 1 << 32 };
        assert_eq!(decode(Mode::X2Apic, wide), ApicAccess::Fault);
    }

    #[test]
    fn init_and_startup_are_told_from_interrupts() {
        let done = |value| page(COMMAND, Width::Double, value, 3);
        assert_eq!(done(0x4500), reset(Target::Id(3)));
        assert_eq!(done(0xC500), reset(Target::Id(3)));
        assert_eq!(done(0x0500), reset(Target::Id(3)), "the level does not matter by an edge");
        assert_eq!(done(0x8500), ApicAccess::Nothing);
        assert_eq!(done(0x000C_4500), reset(Target::Others));
        let nmi = Command { low: 0x0400, destination: 3 };
        assert_eq!(done(0x0400), ApicAccess::Nmi(nmi, Target::Id(3)));
        // Fixed, lowest priority, SMI, remote read, external.
        for low in [0x00FB, 0x01FB, 0x0200, 0x0300, 0x0700] {
            assert_eq!(done(low), ApicAccess::Send(Command { low, destination: 3 }), "{low:#x}");
        }
    }

    #[test]
    fn everybody_has_another_id_in_each_mode() {
        assert_eq!(page(COMMAND, Width::Double, 0x4500, 0xFF), reset(Target::All));
        assert_eq!(msr(0xFF_0000_4500), reset(Target::Id(0xFF)));
        assert_eq!(msr(0xFFFF_FFFF_0000_4500), reset(Target::All));
        assert_eq!(page(COMMAND, Width::Double, 0x4D00, 0xFF), reset(Target::All));
        assert_eq!(msr(0xFF_0000_4D00), reset(Target::Logical(0xFF)));
        assert_eq!(msr(0xFFFF_FFFF_0000_4D00), reset(Target::All));
    }

    #[test]
    fn reserved_bits_of_a_command_fault_in_x2apic_mode() {
        for bit in (13..14).chain(16..18).chain(20..32) {
            assert_eq!(msr(0x4500 | 1 << bit), ApicAccess::Fault, "{bit}");
            assert_ne!(page(COMMAND, Width::Double, 0x4500 | 1 << bit, 0), ApicAccess::Fault, "{bit}");
        }
    }
}
