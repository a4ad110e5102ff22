//! Lets the extension `slices` run a guest VM that spins, on a processor to which no interrupt comes: it ends in time.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, gic, say, system};

/// Milliseconds of a slice, and how late its end may be: what is later has come by something else.
const SLICE: u64 = 50;
const LATE: u64 = 5_000;
/// How many slices.
const MANY: u64 = 10;

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("slices", &machine);
    if machine.reservation().is_none() {
        report.skip("slices", "there is no Plinth to run a guest VM beside this one");
        report.done(&machine)
    }
    gic::enable(machine.gic);
    let late = (0..MANY).map(|_| slice()).max();
    say!("slices: the latest one ended {late:?} ticks late");
    check!(report, "slices", late.is_some_and(|late| late < LATE * system::ticks_per_millisecond()));
    report.done(&machine)
}

/// Runs the guest. Returns how many ticks after its time it ended.
fn slice() -> u64 {
    calls::hvc([TEST_HYPERCALL, SLICE * system::ticks_per_millisecond(), 0, 0]);
    calls::hvc([TEST_HYPERCALL, 0, 0, 0])[0]
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST slices panicked FAILED: {info}");
    entry::stop()
}
