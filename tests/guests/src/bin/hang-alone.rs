//! Sets off an extension that does not return, on the only processor there is: its own next interrupt must end that, one by
//! a timer that is set for no other.

#![no_std]
#![no_main]

use plinth_test_extensions::LOOP_LEAF;
use plinth_test_guests::apic::Apic;
use plinth_test_guests::timer::{Timer, accept};
use plinth_test_guests::{Report, check, cpu, driver, trap};
use uefi::prelude::*;

/// When the interrupt comes, in the timer's counts.
const SOON: u32 = 1_000_000;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("hang-alone");
    match Apic::find() {
        Some(apic) => cpu::without_interrupts(|| hang(&mut report, apic)),
        None => report.skip("gets-past", "the interrupt controller has no page"),
    }
    driver::lives(&mut report);
    report.done()
}

/// With interrupts off, as a busy OS often has them.
fn hang(report: &mut Report, apic: Apic) {
    let timer = Timer::take(apic);
    let before = trap::interrupts();
    timer.set(SOON);
    let registers = timer.registers();
    cpu::cpuid(LOOP_LEAF, 0);
    report.check("gets-past", true);
    check!(report, "interrupt-waits", timer.waits());
    check!(report, "keeps-the-timer", timer.registers(), registers);
    check!(report, "no-interrupt-while-off", trap::interrupts(), before);
    accept();
    accept();
    check!(report, "one-interrupt-then", trap::interrupts(), before + 1);
    timer.give_back();
}
