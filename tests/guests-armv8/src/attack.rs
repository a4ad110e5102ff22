//! Sets off a test extension by its hypercall, as often as that says that it was contained once more, and checks that
//! the machine lives on. The argument is where the hypervisor's memory begins.

#![no_std]
#![no_main]

use core::cell::Cell;
use core::panic::PanicInfo;

use plinth_test_extensions::{CONTAINED, NOT_CONTAINED, TEST_HYPERCALL};
use plinth_test_guests_armv8::calls::{self, NOT_SUPPORTED};
use plinth_test_guests_armv8::{Machine, Report, check, entry, say, system, trap};

/// The extension is gone, and nobody takes hypercalls any more.
const NOBODY: u64 = u64::MAX - 1;

/// More test hypercalls than any test asks for.
const MANY: u64 = 100_000;

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("attack", &machine);
    match machine.reservation() {
        Some(reservation) => attack(&mut report, reservation.start),
        None => report.skip("attack", "there is no Plinth to take it"),
    }
    report.done(&machine)
}

fn attack(report: &mut Report, kernel: u64) {
    let mut results = (0..MANY).map(|_| hypercall(TEST_HYPERCALL, kernel));
    let result = results.find(|result| *result != CONTAINED).unwrap_or(NOT_CONTAINED);
    check!(report, "hypercall", result == 0 || result == NOBODY);
    say!("attack: the hypercall's result is {result:#x}");
    check!(report, "lives", system::affinity() == system::affinity());
    let unknown = hypercall(0, 0);
    check!(report, "lives-unknown-call", unknown == NOT_SUPPORTED || unknown == NOBODY);
    // What came of one call is seen at the next.
    check!(report, "lives-again", hypercall(0, 0) == unknown);
}

/// The result of a hypercall; [`NOBODY`] where it is an undefined instruction.
fn hypercall(number: u64, argument: u64) -> u64 {
    let result = Cell::new(NOBODY);
    let fault = trap::catch(|| result.set(calls::hvc([number, argument, 0, 0])[0]));
    if fault.is_some() { NOBODY } else { result.get() }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST attack panicked FAILED: {info}");
    entry::stop()
}
