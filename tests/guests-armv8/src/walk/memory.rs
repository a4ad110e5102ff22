//! All of physical memory that the device tree tells of, and what lies behind it: each page is read, and each that is
//! neither reserved nor this image's is written and put back.

use core::arch::asm;

use plinth_launch::Range;
use plinth_test_guests_armv8::trap::{catch, class};
use plinth_test_guests_armv8::{Machine, Report, check, mmu, reserved, say};

const PAGE: u64 = 4096;
const PATTERN: u64 = 0x0BAD_C0DE_0BAD_C0DE;
/// Addresses from here on are not this image's to reach with its MMU on.
const MAPPED: u64 = 256 << 30;
/// The highest bit of a physical address, with FEAT_LPA.
const HIGHEST_BIT: u32 = 51;

/// What a walk came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Walk {
    read: u64,
    written: u64,
    wrong: u64,
}

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    let walk = all(machine, 1);
    say!("walk: {} pages read, {} of them written to", walk.read, walk.written);
    check!(report, "all-memory", walk.read > 0 && walk.written > 0);
    check!(report, "memory-is-memory", walk.wrong, 0);
    let sparse = mmu::without(|| all(machine, 16));
    check!(report, "memory-without-mmu", (sparse.read > 0 && sparse.written > 0, sparse.wrong), (true, 0));
    beyond(report, machine);
}

/// Walks all banks, in steps of so many pages.
fn all(machine: &Machine, step: u64) -> Walk {
    let mut walk = Walk::default();
    for bank in machine.banks() {
        let end = bank.start.saturating_add(bank.size).min(MAPPED);
        for page in (bank.start..end).step_by((PAGE * step) as usize) {
            visit(&mut walk, page, !is_taken(machine, page));
        }
    }
    walk
}

fn is_taken(machine: &Machine, page: u64) -> bool {
    let contains = |range: Range| page + PAGE > range.start && page < range.start.saturating_add(range.size);
    contains(mmu::image()) || machine.reserved().any(contains)
}

fn visit(walk: &mut Walk, page: u64, free: bool) {
    let at = page + 0x7F8;
    let mut found = [0; 2];
    let trap = catch(|| {
        found[0] = reserved::load(at);
        if free {
            // SAFETY: nobody's memory, or the device tree's, which nobody reads meanwhile; it is put back at once.
            unsafe {
                store(at, PATTERN ^ page);
                found[1] = reserved::load(at);
                store(at, found[0]);
            }
        }
    });
    walk.read += 1;
    walk.written += u64::from(free);
    // What the firmware has reserved may be out of reach.
    walk.wrong += u64::from(free && (trap.is_some() || found[1] != PATTERN ^ page));
}

/// # Safety
/// Nobody needs what is there.
unsafe fn store(address: u64, value: u64) {
    // SAFETY: the caller says so; an exception is caught by the callers.
    unsafe { asm!("str {}, [{}]", in(reg) value, in(reg) address, options(nostack)) };
}

/// Where there is no memory, up to the highest address: an abort or whatever the machine has there.
fn beyond(report: &mut Report, machine: &Machine) {
    let end = machine.memory_end();
    let places = || (0..=HIGHEST_BIT).map(|bit| 1 << bit).filter(move |at| *at >= end.max(1 << 32));
    let mapped = places().filter(|at| *at < MAPPED).filter(|at| is_abort_or_nothing(*at)).count();
    let all = mmu::without(|| places().filter(|at| is_abort_or_nothing(*at)).count());
    say!("walk: {mapped} and {all} places beyond memory read");
    check!(report, "beyond-memory", all, places().count());
}

fn is_abort_or_nothing(at: u64) -> bool {
    let trap = catch(|| _ = reserved::load(at));
    trap.is_none_or(|trap| trap.class() == class::DATA)
}
