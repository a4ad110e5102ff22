//! Attacks the hypervisor with inter-processor interrupts: every kind of command to every processor, at random, but
//! for those with which a machine would rightly destroy itself (an INIT to this processor, a start at
//! garbage, system management interrupts). Then every processor must still start, and this one be well.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use plinth_test_guests::apic::{self, Apic};
use plinth_test_guests::{Report, check, cpu, driver, plinth, say, trap};
use uefi::boot::{self, AllocateType, MemoryType};
use uefi::prelude::*;

/// Commands that are sent.
const COMMANDS: u32 = 20_000;
/// Long enough for a processor to start, in ticks of the time-stamp counter.
const SOON: u64 = 200_000_000;

/// Delivery modes, bits 10:8 of a command (AMD64 APM vol. 2, 16.5).
const FIXED: u32 = 0;
const LOWEST: u32 = 1 << 8;
const RESERVED: u32 = 3 << 8;
const NMI: u32 = 4 << 8;
const INIT: u32 = 5 << 8;
const START: u32 = 6 << 8;
const EXTERNAL: u32 = 7 << 8;
/// Other fields.
const LOGICAL: u32 = 1 << 11;
const ASSERT: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;
const OTHERS: u32 = 3 << 18;

/// What a processor runs from a SIPI on, in real mode at the start of a page: it counts its start, takes NMIs, and
/// sleeps.
const CODE: &[u8] = &[
    0xFA, // cli
    0x8C, 0xC8, // mov ax, cs
    0x8E, 0xD8, // mov ds, ax
    0x8E, 0xD0, // mov ss, ax
    0xBC, 0x00, 0x10, // mov sp, 0x1000
    0x66, 0x0F, 0x01, 0x1E, 0x60, 0x00, // lidt [0x60]
    0xF0, 0x66, 0xFF, 0x06, 0x70, 0x00, // lock inc dword ptr [0x70]
    0xF4, // hlt
    0xEB, 0xFD, // jmp to the hlt
];
const TABLE_POINTER: u64 = 0x60;
const STARTS: u64 = 0x70;
const HANDLER: u64 = 0x80;
/// lock inc dword ptr cs:[0x74]; iret
const HANDLER_CODE: &[u8] = &[0xF0, 0x2E, 0x66, 0xFF, 0x06, 0x74, 0x00, 0xCF];
const TABLE: u64 = 0x400;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("ipi-storm");
    let below = AllocateType::MaxAddress(0x9_0000);
    let page = boot::allocate_pages(below, MemoryType::LOADER_CODE, 1).map_or(0, |page| page.as_ptr() as u64);
    match Apic::find() {
        Some(apic) if page != 0 && plinth::is_there() => {
            // SAFETY: The page is this program's own, and the firmware gets the machine back never.
            unsafe { lay_out(page) };
            attack(&mut report, apic, page);
        }
        _ => report.skip("storm", "not under Plinth, or the interrupt controller has no page"),
    }
    report.done()
}

fn attack(report: &mut Report, apic: Apic, page: u64) {
    let [_, processors, ..] = cpu::cpuid(0x4000_0001, 0);
    if processors < 2 {
        return report.skip("storm", "there is no other processor");
    }
    trap::take_all_interrupts();
    // The firmware has no handlers for what will come: from here on no processor runs it.
    for processor in 1..processors {
        check!(report, "processor-starts", starts(apic, page, processor));
    }
    cpu::without_interrupts(|| storm(apic, page, processors));
    say!("ipi-storm: {COMMANDS} commands sent, {} NMIs taken here", trap::nmis());
    for processor in 1..processors {
        check!(report, "processor-starts-again", starts(apic, page, processor));
    }
    driver::lives(report);
}

fn storm(apic: Apic, page: u64, processors: u32) {
    let mut random = Random(0x504C);
    for _ in 0..COMMANDS {
        let (destination, command) = command(&mut random, page, processors);
        apic.send_to(destination, command);
    }
}

/// A destination and a command.
fn command(random: &mut Random, page: u64, processors: u32) -> (u32, u32) {
    // Now and then somebody who is not there.
    let absent = random.below(64) == 0;
    let anybody = if absent { processors + 1 } else { random.below(processors) };
    let other = if absent { processors + 1 } else { 1 + random.below(processors - 1) };
    let vector = 32 + random.below(224);
    let flags = random.next() & (LOGICAL | ASSERT | LEVEL);
    let shorthand = random.below(4) << 18;
    match random.below(8) {
        0 => (anybody, FIXED | vector | flags | shorthand),
        1 => (anybody, LOWEST | vector | flags),
        2 => (other, RESERVED | vector | flags & !LOGICAL),
        3 | 4 => (anybody, NMI | flags & !LOGICAL | shorthand),
        5 => (other, INIT | flags & !LOGICAL | if random.below(8) == 0 { OTHERS } else { 0 }),
        6 => (other, START | (page >> 12) as u32 | if random.below(8) == 0 { OTHERS } else { 0 }),
        _ => (other, EXTERNAL | flags & !LOGICAL),
    }
}

/// Whether a processor starts: INIT, SIPI, and its count goes up.
fn starts(apic: Apic, page: u64, processor: u32) -> bool {
    // SAFETY: The word is aligned, and the processors count there by locked instructions.
    let count = unsafe { AtomicU32::from_ptr((page + STARTS) as *mut u32) };
    let before = count.load(Ordering::SeqCst);
    apic.send_to(processor, INIT | ASSERT);
    apic.send_to(processor, START | (page >> 12) as u32);
    let begin = cpu::ticks();
    while count.load(Ordering::SeqCst) == before && cpu::ticks().wrapping_sub(begin) < SOON {
        apic.send_to(processor, START | (page >> 12) as u32);
    }
    count.load(Ordering::SeqCst) != before
}

/// Puts the code, the interrupt table and the handler into the page; NMIs before the table is loaded find the
/// handler by the table at address 0.
///
/// # Safety
/// `page` is the caller's own and below 1 MiB, and nobody needs vector 2 of the table at address 0.
unsafe fn lay_out(page: u64) {
    let gate = (page >> 4 << 16) as u32 | HANDLER as u32;
    // SAFETY: All of it lies in the page, or is that vector.
    unsafe {
        for (at, byte) in CODE.iter().enumerate() {
            ((page + at as u64) as *mut u8).write_volatile(*byte);
        }
        for (at, byte) in HANDLER_CODE.iter().enumerate() {
            ((page + HANDLER + at as u64) as *mut u8).write_volatile(*byte);
        }
        for vector in 0..256 {
            ((page + TABLE + vector * 4) as *mut u32).write_volatile(gate);
        }
        ((page + TABLE_POINTER) as *mut u16).write_volatile(0x3FF);
        ((page + TABLE_POINTER + 2) as *mut u32).write_unaligned((page + TABLE) as u32);
        (8 as *mut u32).write_volatile(gate);
    }
}

/// SplitMix64, its upper half.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ mixed >> 27) >> 32) as u32
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.next() % limit
    }
}

const _: () = assert!(apic::NMI == NMI);
