//! Tries to start the second processor past the hypervisor: by writes around the interrupt command register, which a filter
//! might take for another register and the hardware for that one. It waits for a startup IPI, as the loader has left it, so
//! that one of them would be enough: it would run without the hypervisor, in whose memory it could read and write.
//!
//! Then it starts the right way, and must find the hypervisor above it, and zeroes in its memory.

#![no_std]
#![no_main]

mod stub;

use core::arch::asm;

use plinth_test_guests::apic::{Apic, COMMAND, DESTINATION};
use plinth_test_guests::{Report, check, plinth, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::low_pages;
use plinth_test_guests_bios::real_mode::a_while;

use stub::Stub;

/// The local APIC's id of the second processor.
const SECOND: u32 = 1;
/// INIT, asserted; startup IPI, which has the page's number in its low byte.
const INIT: u32 = 0x4500;
const STARTUP: u32 = 0x4600;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("escape");
    match (low_pages(memory).next(), memory.reservation(), Apic::find()) {
        (Some(page), Some(reservation), Some(apic)) if plinth::is_there() => {
            // SAFETY: a usable page below 1 MiB. What the loader keeps there is not needed any more.
            let stub = unsafe { Stub::place(page, reservation) };
            attack(&mut report, apic, stub);
            start(&mut report, apic, stub);
        }
        _ => report.check("machine-has-plinth-low-memory-and-an-apic", false),
    }
    report.done()
}

/// Writes that begin within 16 bytes of the command register, and are not the one that the manuals define.
fn attack(report: &mut Report, apic: Apic, stub: Stub) {
    apic.write(DESTINATION, SECOND << 24);
    for command in [STARTUP | stub.vector(), INIT, STARTUP | stub.vector()] {
        for offset in (COMMAND - 15..COMMAND + 16).filter(|offset| *offset != COMMAND) {
            apic.store(offset, 4, command.into());
            // DESTINATION lies in reach of the last ones.
            apic.write(DESTINATION, SECOND << 24);
        }
        apic.store(COMMAND, 8, u64::from(SECOND) << 56 | u64::from(command));
        apic.store(COMMAND - 4, 8, u64::from(command) << 32);
        apic.store(COMMAND, 2, command.into());
        exchange(apic.address(COMMAND + 4), command);
        a_while();
        check!(report, "no-start-around-the-command-register", stub.starts(), 0);
    }
}

/// What the manuals define.
fn start(report: &mut Report, apic: Apic, stub: Stub) {
    apic.send_to(SECOND, INIT);
    apic.send_to(SECOND, STARTUP | stub.vector());
    report.check("the-command-register-starts-it", stub.has_ended());
    check!(report, "it-starts-once", stub.starts(), 1);
    check!(report, "it-sees-plinth", stub.signature(), plinth::signature());
    check!(report, "it-reads-zeroes-in-the-reservation", stub.words_not_zero(), 0);
    check!(report, "what-it-writes-there-does-not-stay", stub.read_back(), 0);
}

/// A store by an instruction that reads too.
fn exchange(at: u64, value: u32) {
    // SAFETY: the page is the local APIC's. A write that is not the command register's starts nobody, or the test fails.
    unsafe { asm!("xchg [{}], {:e}", in(reg) at, inout(reg) value => _, options(nostack)) }
}
