//! Sets off an extension that does not return, with an interrupt on its way to this processor: the kernel must get the
//! processor back, and the interrupt must still come.

#![no_std]
#![no_main]

use core::cell::Cell;
use core::panic::PanicInfo;

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, gic, say, system, trap};

/// When the interrupt comes, in milliseconds: long after the extension has begun to loop.
const SOON: u64 = 100;

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("hang", &machine);
    gic::enable(machine.gic);
    gic::set_timer(SOON);
    let result = Cell::new(0);
    let fault = trap::catch(|| result.set(calls::hvc([TEST_HYPERCALL, 0, 0, 0])[0]));
    check!(report, "nobody-takes-the-call", fault.is_some());
    check!(report, "no-interrupt-is-lost", gic::timer_count(system::affinity()), 0);
    gic::open(true);
    system::wait(SOON, || gic::timer_count(system::affinity()) == 1);
    check!(report, "the-interrupt-comes", gic::timer_count(system::affinity()), 1);
    gic::set_timer(1);
    system::wait(SOON, || gic::timer_count(system::affinity()) == 2);
    check!(report, "and-so-does-the-next", gic::timer_count(system::affinity()), 2);
    report.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST hang panicked FAILED: {info}");
    entry::stop()
}
