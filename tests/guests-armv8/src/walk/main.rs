//! The root VM as an attacker that walks: all of physical memory, the hypervisor's too, with the MMU on and off; every
//! instruction and register of EL2; every call of the hypervisor's and the firmware's.

#![no_std]
#![no_main]

mod calls;
mod el2;
mod hypervisors;
mod memory;

use core::panic::PanicInfo;

use plinth_test_guests_armv8::{Machine, Report, check, entry, plinth, say};

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("walk", &machine);
    let Some(reservation) = machine.reservation() else {
        report.skip("walk", "there is no Plinth to attack");
        report.done(&machine)
    };
    memory::run(&mut report, &machine);
    hypervisors::run(&mut report, reservation);
    el2::run(&mut report);
    calls::run(&mut report);
    check!(report, "reservation-still-zero", hypervisors::is_zero(reservation));
    check!(report, "lives", plinth::report());
    report.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST walk panicked FAILED: {info}");
    entry::stop()
}
