//! A guest VM beside this one: it comes to its end, none of this processor's FP registers is another one afterwards, and
//! this VM's interrupts come through.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use plinth_extension_guest_vm::{RUN, RUNNING};
use plinth_test_guests_armv8::gic::To;
use plinth_test_guests_armv8::machine::Gic;
use plinth_test_guests_armv8::vectors::{CONTROL, Vectors, through_exit};
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, gic, say, system};

/// More turns than any guest needs.
const MANY: u32 = 1000;
/// The interrupt that is sent.
const NUMBER: u32 = 6;

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("guest-vm", &machine);
    if machine.reservation().is_none() {
        report.skip("guest-vm", "there is no Plinth to run it beside");
        report.done(&machine)
    }
    gic::enable(machine.gic);
    interrupt(&mut report, &machine);
    check!(report, "first-run", finish(), 0);
    registers(&mut report);
    report.done(&machine)
}

fn run() -> u64 {
    calls::hvc([RUN, 0, 0, 0])[0]
}

/// Lets the guest run to its end. Returns what it ends with.
fn finish() -> u64 {
    (0..MANY).map(|_| run()).find(|result| *result != RUNNING).unwrap_or(RUNNING)
}

/// An interrupt that waits for this VM ends the guest's turn before it has begun.
fn interrupt(report: &mut Report, machine: &Machine) {
    if machine.gic == Gic::None {
        return report.skip("interrupt", "this test knows no interrupt controller here");
    }
    let own = system::affinity();
    gic::send(machine.gic, To::Itself, NUMBER);
    check!(report, "guest-is-interrupted", run(), RUNNING);
    check!(report, "interrupt-waits", gic::count(own, NUMBER), 0);
    gic::open(true);
    let came = system::wait(1000, || gic::count(own, NUMBER) == 1);
    gic::open(false);
    check!(report, "interrupt-comes", came);
}

/// The guest fills registers with its own values, during the first turn and after the second one has begun.
fn registers(report: &mut Report) {
    let (before, mut after) = (Vectors::pattern(), Vectors::zero());
    for turn in ["first-turn", "second-turn"] {
        let control = through_exit(RUN, &before, &mut after);
        check!(report, turn, (before == after, control), (true, CONTROL));
    }
    check!(report, "second-run", finish(), 0);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST guest-vm panicked FAILED: {info}");
    entry::stop()
}
