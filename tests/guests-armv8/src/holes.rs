//! Has an extension access addresses of the machine at which no memory is, and translate by tables that lie there.
//!
//! Under `holes` each access has its answer. Under the example `page-hook` an ID register that is read while the upper half's
//! tables lie in a hole has the extension translate the vectors' address.

#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_extensions::{HOLE_READ, HOLE_TRANSLATE, HOLE_WRITE, TEST_HYPERCALL, hole};
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, read, say, write};

/// Nothing answers here on QEMU's virt machine.
const NOTHING: u64 = 0x0B80_0000;
/// Where the secure world's memory is, if the machine has one; its node is disabled.
const SECURE: u64 = 0x0E00_0000;
/// The UART: a device.
const DEVICE: u64 = 0x0900_0000;
/// The flash: not memory either.
const FLASH: u64 = 0;

/// The upper half: TG1 4 KiB, 39 bits, walks enabled.
const UPPER_HALF: u64 = 25 << 16 | 2 << 30;
const UPPER_FIELDS: u64 = 0xFFFF << 16;
/// An address there.
const UPPER: u64 = 0xFFFF_FFFF_8000_0000;

static WORD: AtomicU64 = AtomicU64::new(0x1234_5678);

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("holes", &machine);
    if machine.reservation().is_none() {
        report.skip("holes", "there is no Plinth to look there");
        report.done(&machine)
    }
    let word = WORD.as_ptr() as u64;
    if access(HOLE_READ, word) == hole::DONE {
        accesses(&mut report, &machine, word);
    } else {
        report.skip("accesses", "the extension is not the one that answers");
    }
    for table in [NOTHING, SECURE, DEVICE, machine.memory_end()] {
        tables_at(&mut report, table);
    }
    report.done(&machine)
}

/// The last page that is mapped but no memory.
fn accesses(report: &mut Report, machine: &Machine, word: u64) {
    check!(report, "memory-is-written", access(HOLE_WRITE, word), hole::DONE);
    check!(report, "and-as-before", WORD.load(Ordering::SeqCst), 0x1234_5678);
    let end = machine.memory_end();
    for at in [FLASH, NOTHING, SECURE, DEVICE, end, end + (1 << 30), 1 << 45] {
        say!("holes: at {at:#x}");
        check!(report, "read", access(HOLE_READ, at), hole::NOT_MAPPED);
        check!(report, "write", access(HOLE_WRITE, at), hole::NOT_MAPPED);
    }
    check!(report, "the-last-word-is-read", access(HOLE_READ, end - 8) != hole::NOT_MAPPED);
    check!(report, "translate", access(HOLE_TRANSLATE, word), hole::DONE);
}

fn access(operation: u64, address: u64) -> u64 {
    calls::hvc([TEST_HYPERCALL, operation, address, 0])[0]
}

/// Has the extension walk tables of the upper half that are no memory. Nothing here uses that half.
fn tables_at(report: &mut Report, table: u64) {
    let (tcr, ttbr, vectors) = (read!("tcr_el1"), read!("ttbr1_el1"), read!("vbar_el1"));
    // SAFETY: no address of the upper half is used while this holds; no exception is taken, so the vectors are not used.
    unsafe {
        write!("ttbr1_el1", table);
        write!("tcr_el1", tcr & !UPPER_FIELDS | UPPER_HALF);
        write!("vbar_el1", UPPER);
    }
    // `page-hook` looks where the vectors are.
    let id = read!("id_aa64pfr0_el1");
    let translated = access(HOLE_TRANSLATE, UPPER);
    // SAFETY: what was there before.
    unsafe {
        write!("vbar_el1", vectors);
        write!("tcr_el1", tcr);
        write!("ttbr1_el1", ttbr);
    }
    say!("holes: tables at {table:#x}, ID {id:#x}");
    check!(report, "tables-in-a-hole-translate-nothing", translated != hole::DONE);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST holes panicked FAILED: {info}");
    entry::stop()
}
