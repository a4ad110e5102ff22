//! A guest VM that spins keeps nothing from this VM: this VM's timer ends its turn, and the interrupt comes. A timer whose interrupt
//! this VM does not let in takes no time from the guest VM. Under the extension `slices`.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use plinth_test_extensions::{NOT_ENDED, TEST_HYPERCALL};
use plinth_test_guests_armv8::machine::Gic;
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, gic, say, system};

/// Milliseconds until the timer rings, of a slice, and what anything may take.
const SOON: u64 = 20;
const SLICE: u64 = 50;
const LATE: u64 = 5_000;
const ROUNDS: u64 = 3;

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("late", &machine);
    if machine.reservation().is_none() {
        report.skip("late", "there is no Plinth to run a guest VM beside this one");
        report.done(&machine)
    }
    gic::enable(machine.gic);
    for round in 1..=ROUNDS {
        gic::set_timer(SOON);
        let took = run(u64::MAX);
        say!("late: back after {took} ms");
        check!(report, "back-in-time", took < LATE);
        check!(report, "not-by-the-extensions-timer", result(), NOT_ENDED);
        check!(report, "not-taken-yet", gic::timer_count(system::affinity()), round - 1);
        gic::open(true);
        check!(report, "timer-comes", system::wait(LATE, || gic::timer_count(system::affinity()) == round));
        gic::open(false);
    }
    if machine.gic != Gic::None {
        gic::let_timer_in(machine.gic, false);
        gic::set_timer(0);
        let took = run(SLICE * system::ticks_per_millisecond());
        say!("late: with a timer that is not let in, back after {took} ms");
        check!(report, "turn-is-not-cut-short", took >= SLICE && result() != NOT_ENDED);
        gic::let_timer_in(machine.gic, true);
        gic::open(true);
        let came = || gic::timer_count(system::affinity()) == ROUNDS + 1;
        check!(report, "timer-comes-when-let-in", system::wait(LATE, came));
        gic::open(false);
    }
    report.done(&machine)
}

/// Runs the guest VM for so many ticks. Returns how many milliseconds that took.
fn run(ticks: u64) -> u64 {
    let begin = system::ticks();
    calls::hvc([TEST_HYPERCALL, ticks, 0, 0]);
    (system::ticks() - begin) / system::ticks_per_millisecond()
}

/// How late the extension's timer ended the last run.
fn result() -> u64 {
    calls::hvc([TEST_HYPERCALL, 0, 0, 0])[0]
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST late panicked FAILED: {info}");
    entry::stop()
}
