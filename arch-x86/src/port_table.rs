//! The closed table of I/O ports: which ones may be opened to a guest VM.
//!
//! The root VM has all ports: the devices are its own. A port of a guest VM that does not exit reaches a device of the
//! machine. The rule for a port that no line names: it may be opened by an extension whose manifest names the group
//! INTRINSIC, as which device is behind it is known to the OS alone.

use core::sync::atomic::{AtomicBool, Ordering};

use plinth_hal::{Authority, Exit, InterceptError, Opening};

use crate::acpi_sleep::{self, PortAccess};

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

/// Whether accesses to a port exit from a VM from now on, where an extension with `authority` asks that they do, or that they
/// do not. Those that put the machine to sleep exit from the root VM in any case: the kernel looks at them first.
///
/// # Errors
/// [`InterceptError::Denied`] where a guest VM would reach a port that it may not.
pub fn exits(port: u16, is_root: bool, wanted: bool, authority: Authority) -> Result<bool, InterceptError> {
    let sleeps = acpi_sleep::ports().any(|owned| owned == port);
    if sleeps && is_root {
        acpi_sleep::request(port, wanted);
    }
    decide(port, sleeps, is_root, wanted, authority)
}

/// The ports of an exit of the root VM, each with whether it exits from now on: the extension that wanted to see them is gone.
pub fn without_extension(exit: &Exit) -> impl Iterator<Item = (u16, bool)> {
    let exits = |port| exits(port, true, false, Authority::Vms).unwrap_or(true);
    PortAccess::of(exit).ports().map(move |port| (port, exits(port)))
}

/// The same as [`exits`] about a port that `sleeps` or does not put the machine to sleep.
fn decide(
    port: u16,
    sleeps: bool,
    is_root: bool,
    wanted: bool,
    authority: Authority,
) -> Result<bool, InterceptError> {
    if wanted || is_root {
        return Ok(wanted || sleeps);
    }
    if sleeps {
        log_once(port, "puts the machine to sleep");
        return Err(InterceptError::Denied);
    }
    let found = PORTS.iter().find(|range| (range.first..=range.last).contains(&port));
    if found.map_or(Opening::Intrinsic, |range| range.opening).allows(authority) {
        return Ok(false);
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
                exits(port, false, false, Authority::Machine),
                Err(InterceptError::Denied),
                "{port:#x}"
            );
            assert_eq!(exits(port, false, true, Authority::Vms), Ok(true), "{port:#x}: it may exit");
            assert_eq!(exits(port, true, false, Authority::Vms), Ok(false), "{port:#x}: it is the root VM's");
        }
    }

    #[test]
    fn what_puts_the_machine_to_sleep_exits_from_the_root_vm_and_is_never_open() {
        for authority in [Authority::Vms, Authority::Machine] {
            for wanted in [false, true] {
                assert_eq!(decide(0x605, true, true, wanted, authority), Ok(true));
            }
            assert_eq!(decide(0x605, true, false, true, authority), Ok(true));
            assert_eq!(decide(0x605, true, false, false, authority), Err(InterceptError::Denied));
        }
    }

    #[test]
    fn without_the_extension_the_root_vms_ports_pass() {
        let exit = Exit { class: plinth_hal::ExitClass::PortWrite, number: 0x60, detail: 2 };
        assert!(without_extension(&exit).eq([(0x60, false), (0x61, false)]));
    }

    #[test]
    fn a_device_takes_the_group() {
        for port in [0x3F8, 0x1F0, 0xC000, 0xFFFF] {
            assert_eq!(exits(port, false, false, Authority::Vms), Err(InterceptError::Denied), "{port:#x}");
            assert_eq!(exits(port, false, false, Authority::Machine), Ok(false), "{port:#x}");
        }
        assert_eq!(exits(0x80, false, false, Authority::Vms), Ok(false));
    }
}
