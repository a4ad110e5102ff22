//! Sets off a test extension by its hypercall, as often as that says that it was contained once more, and checks that
//! the machine lives on.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use plinth_test_guests_armv8::{Machine, Report, driver, entry, say};

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("attack", &machine);
    match machine.reservation() {
        Some(reservation) => driver::attack(&mut report, reservation.start),
        None => report.skip("attack", "there is no Plinth to take it"),
    }
    report.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST attack panicked FAILED: {info}");
    entry::stop()
}
