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

use stub::Stub;

/// The local APIC's id of the second processor.
const SECOND: u32 = 1;
/// Where code for real mode may lie: above what the BIOS uses, below what it reserves.
const LOW_PAGES: core::ops::Range<u8> = 0x10..0x9F;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("cpus");
    let usable = |page: &u8| memory.is_usable(u64::from(*page) << 12, 4096);
    let mut pages = LOW_PAGES.filter(usable);
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
