//! The same as `attack`, while a second processor does nothing: for extensions that do wrong there.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use plinth_test_guests_armv8::calls::{self, CPU_ON};
use plinth_test_guests_armv8::{Machine, Report, check, driver, entry, say, secondary, system};

/// In milliseconds.
const PATIENCE: u64 = 20_000;

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("pair", &machine);
    match (machine.reservation(), machine.another()) {
        (Some(reservation), Some(other)) => {
            let (entry, context) = secondary::prepare(idle, 0);
            let answer = calls::firmware(machine.conduit, [CPU_ON, other, entry, context]);
            check!(report, "second-processor", calls::result(answer), 0);
            check!(report, "arrives", system::wait(PATIENCE, || secondary::arrived() == 1));
            driver::attack(&mut report, reservation.start);
        }
        _ => report.skip("pair", "there is no Plinth, or no second processor"),
    }
    report.done(&machine)
}

/// The second processor.
fn idle(_: u64) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST pair panicked FAILED: {info}");
    entry::stop()
}
