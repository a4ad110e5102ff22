//! Sets off an extension that does not return, on the second processor: the kernel must get that back.

#![no_std]
#![no_main]

use plinth_test_guests::apic::Apic;
use plinth_test_guests::{Report, check, cpu, driver, second, trap};
use uefi::boot::{self, AllocateType, MemoryType};
use uefi::prelude::*;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("hang");
    let below = AllocateType::MaxAddress(0x9_0000);
    let page = boot::allocate_pages(below, MemoryType::LOADER_CODE, 1).map_or(0, |page| page.as_ptr() as u64);
    match Apic::find() {
        Some(apic) if page != 0 => {
            // SAFETY: The page is this program's own.
            let past = cpu::without_interrupts(|| unsafe { second::gets_past(apic, page) });
            check!(report, "gets-past", past);
        }
        _ => report.skip("gets-past", "the interrupt controller has no page"),
    }
    driver::lives(&mut report);
    report.done()
}
