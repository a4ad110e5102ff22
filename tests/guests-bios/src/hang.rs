//! Sets off an extension that does not return, on the second processor: the kernel must get that back.

#![no_std]
#![no_main]

use plinth_test_guests::apic::Apic;
use plinth_test_guests::{Report, check, second, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::low_pages;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("hang");
    match (low_pages(memory).next(), Apic::find()) {
        (Some(page), Some(apic)) => {
            // SAFETY: a usable page below 1 MiB. What the loader keeps there is not needed any more.
            check!(report, "gets-past", unsafe { second::gets_past(apic, page) });
        }
        _ => report.check("machine-has-low-memory-and-an-apic", false),
    }
    report.done()
}
