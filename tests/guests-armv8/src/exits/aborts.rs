//! Memory that is not there, and memory that is the hypervisor's.

use core::arch::asm;

use plinth_launch::Range;
use plinth_test_guests_armv8::trap::{self, Trap, catch, class};
use plinth_test_guests_armv8::{Machine, Report, check};

/// An access at an address, with its value in X2 and X3.
macro_rules! access {
    ($address:expr, $instruction:literal, $x2:expr, $x3:expr) => {{
        let (mut x1, mut x2, mut x3): (u64, u64, u64) = ($address, $x2, $x3);
        // SAFETY: where nothing is, the exception is caught; what is the hypervisor's takes no write.
        let trap = catch(|| unsafe {
            asm!($instruction, inout("x1") x1, inout("x2") x2, inout("x3") x3, out("x4") _, options(nostack))
        });
        (trap, [x1, x2, x3])
    }};
}

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    nowhere(report, machine);
    match machine.reservation() {
        Some(reservation) => {
            reads(report, reservation);
            writes(report, reservation);
            executes(report, reservation);
        }
        None => report.skip("reservation", "without Plinth there is none"),
    }
}

/// An address behind the last memory bank that no device has: the machine's own abort, not the hypervisor's.
fn nowhere(report: &mut Report, machine: &Machine) {
    let end = machine.memory_end();
    // Of the 256 GiB that this image maps, the last two.
    let at = 254 << 30;
    if end > at {
        report.skip("nowhere", "all that this image maps is memory");
        return;
    }
    let expected = |trap: Option<Trap>| {
        trap.is_some_and(|trap| trap.class() == class::DATA && trap.is_external() && trap.address == at)
    };
    check!(report, "nowhere-load", expected(access!(at, "ldr x2, [x1]", 0, 0).0));
    check!(report, "nowhere-store", expected(access!(at, "str x2, [x1]\n dsb sy", 0, 0).0));
    check!(report, "nowhere-pair", expected(access!(at, "ldp x2, x3, [x1]", 0, 0).0));
    check!(report, "nowhere-writeback", expected(access!(at, "ldr x2, [x1], #8", 0, 0).0));
}

fn reads(report: &mut Report, reservation: Range) {
    let at = reservation.start + reservation.size / 2 + 0x40;
    for (name, found) in [
        ("reserved-load", access!(at, "ldr x2, [x1]", 1, 0)),
        ("reserved-load-byte", access!(at, "ldrb w2, [x1, #3]", 1, 0)),
        ("reserved-load-acquire", access!(at, "ldar x2, [x1]", 1, 0)),
        ("reserved-load-exclusive", access!(at, "ldxr x2, [x1]\n clrex", 1, 0)),
        ("reserved-load-pair", access!(at, "ldp x2, x3, [x1]", 1, 0)),
        ("reserved-first-byte", access!(reservation.start, "ldr x2, [x1]", 1, 0)),
        ("reserved-last-byte", access!(reservation.start + reservation.size - 1, "ldrb w2, [x1]", 1, 0)),
    ] {
        check!(report, name, (found.0, found.1[1]), (None, 0));
    }
    let (trap, [x1, x2, _]) = access!(at, "ldr x2, [x1], #16", 1, 0);
    check!(report, "reserved-load-writeback", (trap, x1, x2), (None, at + 16, 0));
    let user = trap::at_el0(load_at_el0, at + plinth_test_guests_armv8::mmu::ALIAS);
    check!(report, "reserved-load-at-el0", user.map(Trap::class), Some(class::SVC));
}

fn writes(report: &mut Report, reservation: Range) {
    let at = reservation.start + reservation.size / 2 + 0xFF8;
    let reads_zero = |address: u64| access!(address, "ldp x2, x3, [x1]", 1, 1).1[1..] == [0, 0];
    for (name, found) in [
        ("reserved-store", access!(at, "str x2, [x1]", 5, 6)),
        ("reserved-store-byte", access!(at, "strb w2, [x1]", 5, 6)),
        ("reserved-store-release", access!(at, "stlr x2, [x1]", 5, 6)),
        // Straddles two pages: two of them are open for one instruction.
        ("reserved-store-pair", access!(at, "stp x2, x3, [x1]", 5, 6)),
        ("reserved-store-unaligned", access!(at, "stur x2, [x1, #5]", 5, 6)),
        ("reserved-zero-by-cache-line", access!(at, "dc zva, x1", 5, 6)),
        ("reserved-clean-and-invalidate", access!(at, "dc civac, x1", 5, 6)),
    ] {
        check!(report, name, (found.0, found.1), (None, [at, 5, 6]));
        check!(report, "reserved-store-vanished", reads_zero(at & !15) && reads_zero((at & !15) + 16));
    }
    let (trap, [x1, ..]) = access!(at, "str x2, [x1, #8]!", 5, 6);
    check!(report, "reserved-store-writeback", (trap, x1), (None, at + 8));
    check!(report, "reserved-store-writeback-vanished", reads_zero(at + 8));
}

/// An instruction fetch from the reservation: zeroes are no instruction, and the memory is not executable.
fn executes(report: &mut Report, reservation: Range) {
    let at = reservation.start + reservation.size / 2;
    let trap = trap::branch_to(at);
    let fetch = trap.is_some_and(|trap| trap.class() == class::FETCH && trap.is_external());
    check!(report, "reserved-fetch", fetch);
    check!(report, "reserved-fetch-address", trap.map(|trap| trap.address), Some(at));
}

#[unsafe(naked)]
unsafe extern "C" fn load_at_el0() {
    core::arch::naked_asm!("ldr x0, [x0]", "cbnz x0, 2f", "svc #0", "2:", "brk #0")
}
