//! Sets off the extension `feud`: the second processor takes away what the first one's calls are about.

#![no_std]
#![no_main]

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_extensions::race::{RACE_LEAF, RACE_VICTIM};
use plinth_test_guests::apic::Apic;
use plinth_test_guests::{Report, check, plinth, second, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::low_pages;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("feud");
    match (low_pages(memory).next(), Apic::find()) {
        (Some(page), Some(apic)) if plinth::is_there() => {
            // SAFETY: a usable page below 1 MiB. What the loader keeps there is not needed any more.
            unsafe { second::start(apic, page, RACE_LEAF) };
            check!(report, "no-leaks", plinth::hypercall(TEST_HYPERCALL, RACE_VICTIM), Ok(0));
            check!(report, "plinth-is-there-still", plinth::is_there());
        }
        _ => report.check("machine-has-plinth-low-memory-and-an-apic", false),
    }
    report.done()
}
