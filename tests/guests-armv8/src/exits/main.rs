//! Provokes every exit that an OS at EL1 can cause, and checks that it finds what the bare machine would show.

#![no_std]
#![no_main]

mod aborts;
mod debug;
mod el2;
mod fp;
mod hypercalls;
mod idle;
mod ipi;
mod psci;
mod state;
mod system_registers;
mod top;
mod waits;

use core::panic::PanicInfo;

use plinth_test_guests_armv8::{Machine, Report, entry, gic, say};

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("exits", &machine);
    say!("{:?}, firmware {:?}, {} processors", machine.gic, machine.conduit, machine.processors().count());
    gic::enable(machine.gic);
    let report_ref = &mut report;
    hypercalls::run(report_ref, &machine);
    system_registers::run(report_ref);
    el2::run(report_ref);
    top::run(report_ref, &machine);
    state::run(report_ref, &machine);
    fp::run(report_ref, &machine);
    debug::run(report_ref, &machine);
    aborts::run(report_ref, &machine);
    waits::run(report_ref, &machine);
    psci::run(report_ref, &machine);
    ipi::run(report_ref, &machine);
    idle::run(report_ref, &machine);
    report.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST exits panicked FAILED: {info}");
    entry::stop()
}
