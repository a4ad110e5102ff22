//! The storm (see `plinth_test_guests::storm`) on a machine with UEFI firmware, whose loader has launched all processors.

#![no_std]
#![no_main]

use plinth_test_guests::apic::Apic;
use plinth_test_guests::storm::{Storm, Stub};
use plinth_test_guests::{Report, cpu, driver, plinth, reservation, trap};
use uefi::boot::{self, AllocateType, MemoryType};
use uefi::prelude::*;

/// Commands that are sent.
const COMMANDS: u32 = 200_000;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("ipi-storm");
    let below = AllocateType::MaxAddress(0x9_0000);
    let page = boot::allocate_pages(below, MemoryType::LOADER_CODE, 1).map_or(0, |page| page.as_ptr() as u64);
    let [_, processors, ..] = cpu::cpuid(0x4000_0001, 0);
    let found = reservation::find().filter(|_| plinth::is_there() && page != 0 && processors > 1);
    match (Apic::find(), found) {
        (Some(apic), Some(found)) => {
            trap::take_all_interrupts();
            // SAFETY: The page is this program's own, and the firmware gets the machine back never.
            let stub = unsafe { Stub::place(page) };
            let reservation = (found.start, found.size);
            Storm { apic, stub, processors, reservation, commands: COMMANDS }.run(&mut report);
            driver::lives(&mut report);
        }
        _ => {
            report.skip("storm", "not under Plinth, one processor, or an interrupt controller without a page")
        }
    }
    report.done()
}
