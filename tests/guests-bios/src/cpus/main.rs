//! INIT and startup IPIs: what the first of two processors can do to the second, in all the orders that make sense and some
//! that do not. The answers are the bare machine's.

#![no_std]
#![no_main]

mod commands;
mod state;
mod stub;
mod waiting;

use plinth_test_guests::apic::Apic;
use plinth_test_guests::{Report, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::low_pages;

use stub::Stub;

/// The local APIC's id of the second processor.
const SECOND: u32 = 1;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("cpus");
    let mut pages = low_pages(memory);
    let pages = (pages.next(), pages.next_back());
    match (pages, Apic::find()) {
        ((Some(one), Some(other)), Some(apic)) => {
            // SAFETY: two usable pages below 1 MiB. What the loader keeps there is not needed any more.
            let stubs = unsafe { [Stub::place(one), Stub::place(other)] };
            commands::run(&mut report, apic, stubs);
        }
        _ => report.check("machine-has-low-memory-and-an-apic", false),
    }
    report.done()
}
