//! Sets off the extension `feud`: the second processor takes away what the first one's calls are about.

#![no_std]
#![no_main]

use core::sync::atomic::Ordering;

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_extensions::race::{FEUD_LEAKS, FEUD_NEGLECTS, FEUD_PREPARE, RACE_LEAF, RACE_VICTIM};
use plinth_test_guests::apic::Apic;
use plinth_test_guests::{Report, check, plinth, second, trap};
use plinth_test_guests_bios::boot_parameters::BootParameters;
use plinth_test_guests_bios::low_pages;

const HARMLESS_LEAF: u32 = 0;
/// How long the other processor may take to begin, in exits of this one.
const PATIENCE: u32 = 1_000_000;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("feud");
    match (low_pages(memory).next(), Apic::find()) {
        (Some(page), Some(apic)) if plinth::is_there() => {
            // Its VP and VS are there before it is counted what there is to have.
            // SAFETY: a usable page below 1 MiB. What the loader keeps there is not needed any more.
            let runs = unsafe { second::start(apic, page, HARMLESS_LEAF) };
            check!(
                report,
                "second-processor",
                (0..PATIENCE).any(|_| plinth::is_there() && runs.load(Ordering::SeqCst) != 0)
            );
            check!(report, "prepared", plinth::hypercall(TEST_HYPERCALL, FEUD_PREPARE), Ok(0));
            // SAFETY: as before.
            unsafe { second::start(apic, page, RACE_LEAF) };
            let result = plinth::hypercall(TEST_HYPERCALL, RACE_VICTIM);
            check!(report, "no-leaks", result.map(|wrong| wrong & FEUD_LEAKS), Ok(0));
            check!(report, "each-kind-succeeds", result.map(|wrong| wrong & FEUD_NEGLECTS), Ok(0));
            check!(report, "plinth-is-there-still", plinth::is_there());
        }
        _ => report.check("machine-has-plinth-low-memory-and-an-apic", false),
    }
    report.done()
}
