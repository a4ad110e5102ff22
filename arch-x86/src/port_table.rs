//! The closed table of I/O ports: which ones may be opened to a guest VM.
//!
//! The root VM has all ports: the devices are its own. A port of a guest VM that does not exit reaches a device of the
//! machine. The rule for a port that no line names: it may be opened by an extension whose manifest names the group
//! INTRINSIC, as which device is behind it is known to the OS alone.

use core::sync::atomic::{AtomicBool, Ordering};

use plinth_hal::{Authority, InterceptError, Opening};

/// A line of the table: ports, who may open them, what they are and why.
struct PortRange {
    first: u16,
    last: u16,
    opening: Opening,
    reason: &'static str,
}

const fn closed(first: u16, last: u16, reason: &'static str) -> PortRange {
    PortRange { first, last, opening: Opening::Closed, reason }
}

/// The ports of a PC that do more than their device's work (ISA and PCI Local Bus specifications; Intel's and AMD's chipset
/// manuals, "Fixed I/O").
const PORTS: [PortRange; 19] = [
    closed(0x00, 0x1F, "DMA controller 1: has devices write memory"),
    closed(0x20, 0x21, "interrupt controller 1: the root VM's"),
    closed(0x24, 0x25, "interrupt controller 1, again"),
    closed(0x28, 0x3D, "interrupt controller 1, again"),
    closed(0x40, 0x53, "timer: the root VM's time and interrupts"),
    closed(0x60, 0x60, "keyboard controller: its output port resets the machine"),
    closed(0x61, 0x61, "NMI status and control"),
    closed(0x64, 0x64, "keyboard controller: resets the machine, sends INIT"),
    closed(0x70, 0x77, "clock and CMOS: switches NMIs off"),
    PortRange {
        first: 0x80,
        last: 0x80,
        opening: Opening::Open,
        reason: "delays and codes of the start: nobody's",
    },
    closed(0x81, 0x8F, "DMA pages: where devices write memory"),
    closed(0x92, 0x92, "resets the processor, switches the address line A20"),
    closed(0xA0, 0xBD, "interrupt controller 2: the root VM's; 0xB2 and 0xB3 enter system management mode"),
    closed(0xC0, 0xDF, "DMA controller 2: has devices write memory"),
    PortRange { first: 0xED, last: 0xED, opening: Opening::Open, reason: "delays: nobody's" },
    closed(0x4D0, 0x4D1, "interrupt controllers: edge or level"),
    closed(0xC00, 0xC01, "interrupt routing of AMD's chipsets"),
    closed(0xCD0, 0xCDF, "configuration of AMD's chipsets: resets, power, system management mode"),
    closed(0xCF8, 0xCFF, "configuration of all devices; 0xCF9 resets the machine"),
];

/// Whether an extension with `authority` may have accesses to a port exit, or not, in a VM.
///
/// # Errors
/// [`InterceptError::Denied`] where a guest VM would reach a port that it may not.
pub fn check(port: u16, is_root: bool, exits: bool, authority: Authority) -> Result<(), InterceptError> {
    if exits || is_root {
        return Ok(());
    }
    let found = PORTS.iter().find(|range| (range.first..=range.last).contains(&port));
    if found.map_or(Opening::Intrinsic, |range| range.opening).allows(authority) {
        return Ok(());
    }
    if let Some(range) = found {
        log_once(port, range.reason);
    }
    Err(InterceptError::Denied)
}

/// Logs the first port that is asked for and never open.
fn log_once(port: u16, reason: &str) {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if !LOGGED.swap(true, Ordering::Relaxed) {
        log::warn!("port {port:#x} is closed to guest VMs: {reason}; more are not logged");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_order_and_say_why() {
        for range in &PORTS {
            assert!(range.first <= range.last && range.reason.len() > 10, "{:#x}", range.first);
        }
        assert!(PORTS.windows(2).all(|pair| pair[0].last < pair[1].first));
    }

    #[test]
    fn what_reaches_all_of_the_machine_is_never_open() {
        let dangerous =
            [0x00, 0x20, 0x43, 0x60, 0x61, 0x64, 0x70, 0x87, 0x92, 0xA1, 0xB2, 0xB3, 0xD6, 0x4D0, 0xCD6];
        for port in dangerous.into_iter().chain(0xCF8..=0xCFF) {
            assert_eq!(
                check(port, false, false, Authority::Machine),
                Err(InterceptError::Denied),
                "{port:#x}"
            );
            assert_eq!(check(port, false, true, Authority::Vms), Ok(()), "{port:#x}: it may exit");
            assert_eq!(check(port, true, false, Authority::Vms), Ok(()), "{port:#x}: it is the root VM's");
        }
    }

    #[test]
    fn a_device_takes_the_group() {
        for port in [0x3F8, 0x1F0, 0xC000, 0xFFFF] {
            assert_eq!(check(port, false, false, Authority::Vms), Err(InterceptError::Denied), "{port:#x}");
            assert_eq!(check(port, false, false, Authority::Machine), Ok(()), "{port:#x}");
        }
        assert_eq!(check(0x80, false, false, Authority::Vms), Ok(()));
    }
}
