//! Walks all of physical memory, the hypervisor's too: reads every page, writes to every page that is nobody's, and to
//! every page of the reservation, where nothing must be found and nothing must stay.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_test_guests::reservation::{self, Reservation};
use plinth_test_guests::{Report, check, cpu, driver, plinth, probe, say, trap};
use uefi::boot;
use uefi::mem::memory_map::{MemoryMap, MemoryType};
use uefi::prelude::*;

const PAGE: u64 = 4096;
const PATTERN: u64 = 0x0BAD_C0DE_0BAD_C0DE;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("walk");
    let Some(reservation) = reservation::find().filter(|_| plinth::is_there()) else {
        report.skip("walk", "not under Plinth");
        report.done()
    };
    all_memory(&mut report, reservation);
    beyond_memory(&mut report);
    hypervisors(&mut report, reservation);
    driver::lives(&mut report);
    report.done()
}

/// Eight bytes of any address; `None` where this machine's own tables do not map it.
fn read(at: u64) -> Option<u64> {
    let value;
    // SAFETY: Reading memory changes nothing; a fault is caught.
    let fault = unsafe { probe!("mov {value}, [{at}]"; value = out(reg) value, at = in(reg) at) };
    if fault.is_some() { None } else { Some(value) }
}

/// Writes eight bytes. Returns whether it could.
///
/// # Safety
/// Nobody needs the eight bytes at `at`.
unsafe fn write(at: u64, value: u64) -> bool {
    // SAFETY: By this function's contract nobody needs the eight bytes; a fault is caught.
    unsafe { probe!("mov [{at}], {value}"; value = in(reg) value, at = in(reg) at) }.is_none()
}

fn all_memory(report: &mut Report, reservation: Reservation) {
    let Ok(map) = boot::memory_map(MemoryType::LOADER_DATA) else { return report.check("memory-map", false) };
    let (mut pages, mut written, mut wrong) = (0u64, 0u64, 0u64);
    for entry in map.entries().filter(|entry| !is_device(entry.ty)) {
        let free = entry.ty == MemoryType::CONVENTIONAL;
        for page in (0..entry.page_count).map(|page| entry.phys_start + page * PAGE) {
            let Some(old) = read(page) else { continue };
            pages += 1;
            if free {
                // SAFETY: The map says that the page is nobody's; it is put back all the same.
                let done = unsafe { write(page, PATTERN ^ page) };
                wrong += u64::from(!done || read(page) != Some(PATTERN ^ page));
                // SAFETY: As it was.
                unsafe { write(page, old) };
                written += 1;
            }
        }
    }
    say!("walk: {pages} pages read, {written} of them written to");
    check!(report, "all-memory", pages * PAGE > reservation.size && written > 0);
    check!(report, "memory-is-memory", wrong, 0);
}

/// Reading a device may mean something to it.
fn is_device(kind: MemoryType) -> bool {
    matches!(kind, MemoryType::MMIO | MemoryType::MMIO_PORT_SPACE)
}

/// Where there is nothing: whatever can be reached reads as no memory does, twice the same.
fn beyond_memory(report: &mut Report) {
    let reached = (32..52).filter_map(|bit| Some((bit, read(1 << bit)?)));
    let (mut places, mut wrong) = (0, 0);
    for (bit, value) in reached {
        places += 1;
        if !matches!(value, 0 | u64::MAX) || read(1 << bit) != Some(value) {
            say!("walk: {:#x} reads {value:#x}", 1u64 << bit);
            wrong += 1;
        }
    }
    say!("walk: {places} places beyond memory can be read");
    check!(report, "beyond-memory", wrong, 0);
}

fn hypervisors(report: &mut Report, reservation: Reservation) {
    let end = reservation.start + reservation.size;
    let words = || (reservation.start..end).step_by(512);
    check!(report, "reservation-reads-zero", words().all(|at| read(at) == Some(0)));
    let pages = || (reservation.start..end).step_by(PAGE as usize);
    let written = pages().all(|page| {
        // SAFETY: It is the hypervisor's, and vanishes; if it does not, all is lost anyway.
        cpu::without_interrupts(|| unsafe { write(page + 0x7F8, u64::MAX) })
    });
    check!(report, "reservation-takes-writes", written);
    check!(report, "reservation-keeps-none", pages().all(|page| read(page + 0x7F8) == Some(0)));
    // SAFETY: As above; a string instruction over a megabyte of it.
    let fault = cpu::without_interrupts(|| unsafe {
        probe!("rep stosq"; inout("rdi") reservation.start => _, inout("rcx") 0x2_0000u64 => _, in("rax") PATTERN)
    });
    check!(report, "reservation-takes-strings", fault, None);
    check!(report, "reservation-still-zero", words().all(|at| read(at) == Some(0)));
    let flags: u64;
    // SAFETY: The flags are read by way of the stack, which is left as it was.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags) }
    check!(report, "no-trap-flag", flags & 1 << 8, 0);
}
