//! Has an extension access addresses of the machine at which no memory is, and page 0, where real mode's interrupt table is
//! and which the kernel itself has not mapped at its address; and translate by tables that lie in such places.
//!
//! Under `holes` each access has its answer. Under the example `page-hook` CPUID has the extension translate the address at
//! which system calls enter.

#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_extensions::{HOLE_READ, HOLE_TRANSLATE, HOLE_WRITE, TEST_HYPERCALL, hole};
use plinth_test_guests::{Report, check, cpu, plinth, say, trap};
use plinth_test_guests_bios as _;

/// Above what a PC with so little memory has, below the devices.
const NOTHING: u64 = 0x7000_0000;
/// Not in this machine's map, and beyond what a processor addresses.
const BEYOND: [u64; 2] = [1 << 45, !7];
/// In page 0, and real mode's own: an interrupt vector that nobody takes any more.
const VECTOR: u64 = 0x3F8;

/// The local APIC: a device.
const DEVICE: u64 = 0xFEE0_0000;

/// An address of the upper half, which nothing here uses: that of the last entry of the uppermost table.
const UPPER: u64 = 0xFFFF_FF80_0000_0000;
const LAST_ENTRY: u64 = 511 * 8;
/// An entry that allows everything: present, writable.
const PRESENT: u64 = 3;
const LSTAR: u32 = 0xC000_0082;

/// A table of the next level.
#[repr(C, align(4096))]
struct Table([AtomicU64; 512]);

static POINTERS: Table = Table([const { AtomicU64::new(0) }; 512]);

static WORD: AtomicU64 = AtomicU64::new(0x1234_5678);

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(_: u64) -> ! {
    trap::install();
    let mut report = Report::new("holes");
    let word = WORD.as_ptr() as u64;
    if access(HOLE_READ, word).is_ok() {
        accesses(&mut report, word);
    } else {
        report.skip("accesses", "the extension is not the one that answers");
    }
    for hole in [NOTHING, BEYOND[0], 0] {
        tables_at(&mut report, hole);
    }
    // Bochs ends with the first read of eight bytes there.
    if cpu::is_amd() {
        tables_at(&mut report, DEVICE);
    }
    report.done()
}

fn accesses(report: &mut Report, word: u64) {
    check!(report, "memory-is-read", access(HOLE_READ, word), Ok(hole::DONE));
    check!(report, "memory-is-written", access(HOLE_WRITE, word), Ok(hole::DONE));
    check!(report, "and-as-before", WORD.load(Ordering::SeqCst), 0x1234_5678);
    check!(report, "translate", access(HOLE_TRANSLATE, word), Ok(hole::DONE));
    page_zero(report);
    // Within the machine's map the bus answers, as it likes; beyond it nothing is mapped; and at the end of all addresses eight
    // bytes do not fit.
    let answers: [(u64, &[u64]); 3] = [
        (NOTHING, &[hole::DONE, hole::NOT_MAPPED, hole::ONES]),
        (BEYOND[0], &[hole::NOT_MAPPED, hole::ONES]),
        (BEYOND[1], &[hole::OTHER]),
    ];
    for (at, expected) in answers {
        say!("holes: at {at:#x}");
        for operation in [HOLE_READ, HOLE_WRITE] {
            let answer = access(operation, at);
            report.check("no-memory", answer.is_ok_and(|answer| expected.contains(&answer)));
        }
    }
}

/// Has the extension walk tables of the second and of the third level that are no memory.
fn tables_at(report: &mut Report, hole: u64) {
    say!("holes: tables at {hole:#x}");
    translate(report, hole | PRESENT);
    POINTERS.0[0].store(hole | PRESENT, Ordering::SeqCst);
    translate(report, POINTERS.0.as_ptr() as u64 | PRESENT);
}

/// Has it translate the address that `entry` of the uppermost table is about.
fn translate(report: &mut Report, entry: u64) {
    let root: u64;
    // SAFETY: reading CR3 changes nothing.
    unsafe { asm!("mov {}, cr3", out(reg) root, options(nomem, nostack, preserves_flags)) };
    let place = (root + LAST_ENTRY) as *mut u64;
    // SAFETY: the tables are this kernel's, mapped at their addresses; nobody uses an address of the upper half, and no system
    // call is made.
    let before = unsafe {
        place.write_volatile(entry);
        cpu::write_msr(LSTAR, UPPER)
    };
    // `page-hook` looks where system calls enter.
    let [highest, ..] = cpu::cpuid(0, 0);
    let translated = access(HOLE_TRANSLATE, UPPER);
    // SAFETY: as above.
    let after = unsafe {
        place.write_volatile(0);
        cpu::write_msr(LSTAR, 0)
    };
    check!(report, "the-entry-is-taken", (before, after), (Ok(()), Ok(())));
    check!(report, "tables-in-a-hole-translate-nothing", highest != 0 && translated != Ok(hole::DONE));
}

/// What the extension finds and changes there is what this kernel does.
fn page_zero(report: &mut Report) {
    let word = VECTOR as *mut u64;
    // SAFETY: mapped by this kernel, as all low memory is; no code of real mode runs any more.
    let before = unsafe { word.read_volatile() };
    for pattern in [0, 0x5A5A_1234, u64::MAX] {
        // SAFETY: as above.
        unsafe { word.write_volatile(pattern) };
        let found = if pattern == u64::MAX { hole::ONES } else { hole::DONE };
        check!(report, "page-0-is-read", access(HOLE_READ, VECTOR), Ok(found));
    }
    check!(report, "page-0-is-written", access(HOLE_WRITE, VECTOR), Ok(hole::DONE));
    // SAFETY: as above.
    check!(report, "page-0-is-as-before", unsafe { word.read_volatile() }, u64::MAX);
    // SAFETY: as above.
    unsafe { word.write_volatile(before) };
}

fn access(operation: u64, address: u64) -> Result<u64, trap::Fault> {
    plinth::hypercall_with(TEST_HYPERCALL, operation, address)
}
