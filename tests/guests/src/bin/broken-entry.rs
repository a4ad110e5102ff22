//! A page whose entry in the nested tables is broken: each access is a machine check, all other memory is well, and once
//! the entry is mended the page is what it was. Only the tests' own kernel breaks entries.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, driver, plinth, probe, say, trap};
use uefi::boot::{self, AllocateType, MemoryType};
use uefi::prelude::*;
use uefi::proto::loaded_image::LoadedImage;

/// The hypercall that gives the page in RBX other low bits in its entry: see `arch-intel/src/fault_injection.rs`.
const BREAK_LEAF: u64 = 0x504C_7E57_0049;

/// What makes an entry a misconfiguration (Intel SDM vol. 3C, 29.3.3.1): write without read; a memory type that is none.
const WRITE_ONLY: u64 = 2 | WRITE_BACK;
const NO_MEMORY_TYPE: u64 = ALL | 2 << 3;
/// A good one.
const GOOD: u64 = ALL | WRITE_BACK;
const ALL: u64 = 7;
const WRITE_BACK: u64 = 6 << 3;

const MACHINE_CHECK: u64 = 18;
const VALUE: u64 = 0x0123_4567_89AB_CDEF;
/// Nested tables map memory below by single pages: the fixed MTRRs.
const CONVENTIONAL: u64 = 0x9_F000;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("broken-entry");
    let page = boot::allocate_pages(AllocateType::MaxAddress(CONVENTIONAL), MemoryType::LOADER_DATA, 1);
    let page = page.map_or(0, |page| page.as_ptr() as u64);
    check!(report, "allocated", page != 0);
    write(page, VALUE);
    if plinth::hypercall(BREAK_LEAF, page | GOOD) != Ok(0) {
        report.skip("broken-entry", "no kernel breaks entries here");
        report.done()
    }
    for bits in [WRITE_ONLY, NO_MEMORY_TYPE] {
        touch(&mut report, page, bits);
    }
    if in_delivery() {
        deliver_into(page);
    }
    driver::lives(&mut report);
    report.done()
}

/// Every access raises a machine check; a mended entry leaves nothing behind.
fn touch(report: &mut Report, page: u64, bits: u64) {
    check!(report, "breaks", plinth::hypercall(BREAK_LEAF, page | bits), Ok(0));
    for _ in 0..2 {
        check!(report, "read", vector(read(page)), Some(MACHINE_CHECK));
        check!(report, "write", vector(write_probed(page)), Some(MACHINE_CHECK));
    }
    check!(report, "mends", plinth::hypercall(BREAK_LEAF, page | GOOD), Ok(0));
    check!(report, "value", read(page), Ok(VALUE));
}

/// Has an exception delivered by way of a broken table.
fn deliver_into(page: u64) -> ! {
    let _ = plinth::hypercall(BREAK_LEAF, page | WRITE_ONLY);
    say!("TEST broken-entry shuts down now");
    cpu::without_interrupts(|| {
        trap::load(page, 0xFFF);
        // SAFETY: The machine restarts: that is what the test is for.
        unsafe { asm!("ud2", options(noreturn)) }
    })
}

/// Whether the load options ask for the end.
fn in_delivery() -> bool {
    let Ok(image) = boot::open_protocol_exclusive::<LoadedImage>(boot::image_handle()) else { return false };
    image.load_options_as_cstr16().is_ok_and(|text| text.num_chars() > 0)
}

fn vector<T>(result: Result<T, Fault>) -> Option<u64> {
    result.err().map(|fault| fault.vector)
}

fn read(at: u64) -> Result<u64, Fault> {
    let value;
    // SAFETY: The page is this program's own; a fault is caught.
    let fault = unsafe { probe!("mov {value}, [{at}]"; at = in(reg) at, value = out(reg) value) };
    fault.map_or(Ok(value), Err)
}

fn write_probed(at: u64) -> Result<(), Fault> {
    // SAFETY: As in `read`.
    let fault = unsafe { probe!("mov [{at}], {value}"; at = in(reg) at, value = in(reg) 0u64) };
    fault.map_or(Ok(()), Err)
}

fn write(at: u64, value: u64) {
    // SAFETY: The page is this program's own.
    unsafe { (at as *mut u64).write_volatile(value) }
}
