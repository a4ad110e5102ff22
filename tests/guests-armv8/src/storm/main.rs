//! The root VM as an attacker on all processors at once: interrupts from each to each, processors that start and stop each
//! other with sense and without, calls of the firmware's and the hypervisor's, accesses to the hypervisor's memory, registers and
//! instructions of EL2, registers of EL1, all at random. Then every processor must still start, and at last some are sent
//! where no code is.
//!
//! The sequence of each processor follows from the seed; how they meet does not.

#![no_std]
#![no_main]

mod commands;
mod processors;

use core::panic::PanicInfo;

use plinth_test_guests_armv8::machine::Conduit;
use plinth_test_guests_armv8::{Machine, Report, check, entry, gic, plinth, read, reserved, say};

use processors::Lab;

/// Commands of the processor that counts; the others go on as long.
const COMMANDS: u64 = 80_000;

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("storm", &machine);
    match machine.reservation() {
        Some(_) if machine.conduit != Conduit::None => attack(&mut report, machine),
        _ => report.skip("storm", "there is no Plinth to attack, or no PSCI to attack with"),
    }
    report.done(&machine)
}

fn attack(report: &mut Report, machine: Machine) {
    let Some(lab) = Lab::build(machine) else {
        return report.skip("storm", "there is no other processor");
    };
    gic::enable(machine.gic);
    // Another sequence on each kind of processor.
    let seed = read!("midr_el1");
    commands::begin(seed);
    say!("storm: seed {seed:#x}, {COMMANDS} commands, {} other processors", lab.others().count());
    // No other processor has ever run: the storm starts them.
    lab.begin();
    commands::run(lab, 0, COMMANDS);
    check!(report, "processors-stop", lab.stop_all());
    let mistakes = commands::mistakes();
    say!("storm: {} commands in all, {mistakes} mistakes", commands::total());
    check!(report, "answers", (mistakes, commands::last_mistake()), (0, -1));
    for other in lab.others() {
        check!(report, "processor-starts-afterwards", lab.starts(other));
    }
    check!(report, "off-and-on-at-once", lab.turns_around());
    check!(report, "processors-stop-again", lab.stop_all());
    let words = || (lab.reservation.start..lab.reservation.start + lab.reservation.size).step_by(512);
    check!(report, "reservation-is-zero", words().all(|at| reserved::is_zero(at) == Some(true)));
    processors::astray(report, lab);
    check!(report, "lives", plinth::report());
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST storm panicked FAILED: {info}");
    entry::stop()
}
