//! MTRRs, written as firmware and operating systems do: the processor has the values, memory is what it was, and the nested
//! tables are made anew only where memory has another type.

#![no_std]
#![no_main]

use plinth_extension_api::abi::HYPERCALL_COUNT;
use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, driver, plinth, reservation, trap};
use uefi::boot::{self, AllocateType, MemoryType};
use uefi::prelude::*;

const CAPABILITIES: u32 = 0xFE;
const DEFAULT_TYPE: u32 = 0x2FF;
const FIRST_BASE: u32 = 0x200;
/// Of 4 KiB from 0xF8000 on.
const LAST_FIXED: u32 = 0x26F;

const VALID: u64 = 1 << 11;
const ON: u64 = 1 << 11;
const UNCACHED: u64 = 0;
const WRITE_COMBINING: u64 = 1;
/// A type that there is not.
const RESERVED: u64 = 2;
/// Bits 51:12 of the mask of a range of 64 KiB; what the processor lacks of them is cut off.
const MASK: u64 = 0x000F_FFFF_FFFF_0000;
const SIZE: u64 = 0x1_0000;
const PAGES: usize = 16;
/// Exits of counting the exits: CPUID, which tells the vendor, and the hypercall.
const COUNTING: u64 = 2;
const VALUE: u64 = 0x0123_4567_89AB_CDEF;
/// Bytes of WRMSR.
const LENGTH: u64 = 2;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("mtrr");
    let memory = boot::allocate_pages(AllocateType::AnyPages, MemoryType::LOADER_DATA, 2 * PAGES);
    let memory = memory.map_or(0, |memory| (memory.as_ptr() as u64).next_multiple_of(SIZE));
    check!(report, "allocated", memory != 0);
    let own = reservation::find();
    cpu::without_interrupts(|| {
        same_values(&mut report);
        match free_range() {
            Some(base) => {
                range(&mut report, base, memory);
                own.inspect(|own| over_the_reservation(&mut report, base, own.start));
                scattered(&mut report, base);
            }
            None => report.skip("range", "there is no free one"),
        }
        fixed(&mut report);
        off_and_on(&mut report, memory);
    });
    driver::lives(&mut report);
    report.done()
}

/// The number of the first range that does not count.
fn free_range() -> Option<u32> {
    let count = read(CAPABILITIES) as u32 & 0xFF;
    let mut bases = (0..count).map(|index| FIRST_BASE + 2 * index);
    bases.find(|base| read(base + 1) & VALID == 0)
}

/// How many exits `work` takes, but for those that the kernel does not count; none on the bare machine.
fn exits(work: impl FnOnce()) -> u64 {
    let count = || plinth::hypercall(HYPERCALL_COUNT, 0).unwrap_or(0);
    let before = count();
    work();
    count().saturating_sub(before + COUNTING)
}

/// What every processor does when an operating system starts.
fn same_values(report: &mut Report) {
    let count = read(CAPABILITIES) as u32 & 0xFF;
    let registers = (FIRST_BASE..FIRST_BASE + 2 * count).chain([LAST_FIXED, DEFAULT_TYPE]);
    let exits = exits(|| {
        for register in registers {
            let _ = write(register, read(register));
        }
    });
    check!(report, "same-values", exits, 0);
}

/// A range of RAM that becomes write-combining, and ordinary again.
fn range(report: &mut Report, base: u32, memory: u64) {
    let (old, mask) = ((read(base), read(base + 1)), mask());
    store(memory, VALUE);
    check!(report, "base", write(base, memory | WRITE_COMBINING), Ok(()));
    let changes = exits(|| _ = write(base + 1, mask | VALID));
    check!(report, "range-is-followed", changes, u64::from(is_followed()));
    check!(report, "range-is-kept", (read(base), read(base + 1)), (memory | WRITE_COMBINING, mask | VALID));
    check!(report, "range-keeps-memory", load(memory), VALUE);
    store(memory, !VALUE);
    let back = exits(|| _ = write(base + 1, old.1));
    check!(report, "range-goes", back, u64::from(is_followed()));
    check!(report, "range-leaves-memory", load(memory), !VALUE);
    check!(report, "reserved-type", write(base, memory | RESERVED), Err(Fault::general_protection(LENGTH)));
    check!(report, "base-back", write(base, old.0), Ok(()));
}

/// The hypervisor does not run on write-combining memory.
fn over_the_reservation(report: &mut Report, base: u32, own: u64) {
    if !is_followed() {
        return report.skip("reservation", "nobody minds");
    }
    let old = (read(base), read(base + 1));
    check!(report, "reservation-base", write(base, own | WRITE_COMBINING), Ok(()));
    let refused = write(base + 1, mask() | VALID);
    check!(report, "reservation-is-refused", refused, Err(Fault::general_protection(LENGTH)));
    check!(report, "reservation-range", read(base + 1), old.1);
    check!(report, "reservation-back", write(base, old.0), Ok(()));
}

/// A mask with holes makes every second page a range, more than the hypervisor follows. The type is the default one, so that
/// nothing would change.
fn scattered(report: &mut Report, base: u32) {
    const EVERY_SECOND_PAGE: u64 = 0x1000;
    if !is_followed() {
        return report.skip("scattered", "nobody minds");
    }
    let old = (read(base), read(base + 1));
    check!(report, "scattered-base", write(base, read(DEFAULT_TYPE) & 0xFF), Ok(()));
    let refused = write(base + 1, EVERY_SECOND_PAGE | VALID);
    check!(report, "scattered-is-refused", refused, Err(Fault::general_protection(LENGTH)));
    check!(report, "scattered-range", read(base + 1), old.1);
    check!(report, "scattered-back", write(base, old.0), Ok(()));
}

/// Ranges of 4 KiB, in a register of their own.
fn fixed(report: &mut Report) {
    let old = read(LAST_FIXED);
    let other = if old == UNCACHED { 0x0606_0606_0606_0606 } else { UNCACHED };
    let changes = exits(|| _ = write(LAST_FIXED, other));
    check!(report, "fixed-is-followed", changes, u64::from(is_followed()));
    check!(report, "fixed-is-kept", read(LAST_FIXED), other);
    check!(report, "fixed-back", write(LAST_FIXED, old), Ok(()));
}

/// How the manual has types changed: all is uncached meanwhile, and nothing follows.
fn off_and_on(report: &mut Report, memory: u64) {
    let old = read(DEFAULT_TYPE);
    let exits = exits(|| {
        let _ = write(DEFAULT_TYPE, old & !ON);
        store(memory, VALUE);
        let _ = write(DEFAULT_TYPE, old);
    });
    check!(report, "off-and-on", exits, 0);
    check!(report, "off-and-on-keeps-memory", (load(memory), read(DEFAULT_TYPE)), (VALUE, old));
}

/// Whether nested tables hold the types.
fn is_followed() -> bool {
    plinth::is_there() && !cpu::is_amd()
}

/// The mask, as wide as a physical address.
fn mask() -> u64 {
    let bits = cpu::cpuid(0x8000_0008, 0)[0] & 0xFF;
    MASK & ((1 << bits) - 1)
}

fn read(register: u32) -> u64 {
    cpu::read_msr(register).unwrap_or(0)
}

fn write(register: u32, value: u64) -> Result<(), Fault> {
    // SAFETY: What memory holds stays; the types are put back by the test that changes them.
    unsafe { cpu::write_msr(register, value) }
}

fn store(at: u64, value: u64) {
    // SAFETY: The page is this program's own.
    unsafe { (at as *mut u64).write_volatile(value) }
}

fn load(at: u64) -> u64 {
    // SAFETY: As in `store`.
    unsafe { (at as *const u64).read_volatile() }
}
