//! The storm (see `plinth_test_guests::storm`) on a PC with a BIOS: it starts the second processor itself.

#![no_std]
#![no_main]

use plinth_test_guests::apic::Apic;
use plinth_test_guests::storm::{Storm, Stub};
use plinth_test_guests::{Report, driver, plinth, serial, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::low_pages;

/// Commands that are sent.
const COMMANDS: u32 = 60_000;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("ipi-storm");
    let (page, reservation) = (low_pages(memory).next(), memory.reservation());
    match (page, reservation, Apic::find()) {
        (Some(page), Some(reservation), Some(apic)) if plinth::is_there() => {
            trap::take_all_interrupts();
            mask_old_controllers();
            // SAFETY: a usable page below 1 MiB. What the loader keeps there is not needed any more, nor is a BIOS.
            let stub = unsafe { Stub::place(page) };
            Storm { apic, stub, processors: 2, reservation, commands: COMMANDS }.run(&mut report);
            driver::answers(&mut report);
        }
        _ => report.check("machine-has-plinth-low-memory-and-an-apic", false),
    }
    report.done()
}

/// The interrupts of a PC's two old controllers have the numbers of exceptions, as the BIOS has left them.
fn mask_old_controllers() {
    const MASKS: [u16; 2] = [0x21, 0xA1];
    MASKS.iter().for_each(|port| serial::write_port(*port, 0xFF));
}
