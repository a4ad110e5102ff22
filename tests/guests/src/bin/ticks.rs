//! Interrupts that come while an extension takes its time: each is taken once, when and as the processor's own rules say.

#![no_std]
#![no_main]

use plinth_test_extensions::SLOW_LEAF;
use plinth_test_guests::apic::{Apic, SELF, TASK_PRIORITY};
use plinth_test_guests::timer::{Timer, accept};
use plinth_test_guests::{Report, check, cpu, driver, plinth, trap};
use uefi::prelude::*;

/// Rounds that the extension waits in one turn.
const ROUNDS: u32 = 100_000;
/// How often each is tried.
const MANY: u64 = 20;
/// Counts between interrupts of which the extension must not take each.
const STORM: u32 = 1000;
/// How often it is looked for one that should have come.
const PATIENCE: u32 = 100_000;
/// Above every interrupt.
const HIGHEST: u32 = 0xff;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("ticks");
    match Apic::find() {
        Some(apic) => cpu::without_interrupts(|| {
            let timer = Timer::take(apic);
            ticks(&mut report, apic, &timer);
            timer.give_back();
        }),
        None => report.skip("ticks", "the interrupt controller has no page"),
    }
    driver::lives(&mut report);
    report.done()
}

fn slow() {
    cpu::cpuid(SLOW_LEAF, ROUNDS);
}

/// The timer, set to come while the extension has its turn.
struct Shots<'t> {
    apic: Apic,
    timer: &'t Timer,
    counts: u32,
}

impl Shots<'_> {
    /// Has it come while interrupts are off. Returns how many had been taken before, if it waits then and not sooner, and the
    /// timer's registers are as they were.
    fn one(&self) -> Option<u64> {
        let before = trap::interrupts();
        self.timer.set(self.counts);
        let registers = self.timer.registers();
        let waits = (0..PATIENCE).any(|_| {
            slow();
            self.timer.waits()
        });
        (waits && trap::interrupts() == before && self.timer.registers() == registers).then_some(before)
    }

    fn waits_for_interrupts_on(&self) -> bool {
        let Some(before) = self.one() else { return false };
        accept();
        accept();
        trap::interrupts() == before + 1
    }

    fn waits_for_task_priority(&self) -> bool {
        let Some(before) = self.one() else { return false };
        self.apic.write(TASK_PRIORITY, HIGHEST);
        accept();
        let held = trap::interrupts() == before;
        self.apic.write(TASK_PRIORITY, 0);
        accept();
        held && trap::interrupts() == before + 1
    }

    fn comes_at_once(&self) -> bool {
        let before = trap::interrupts();
        self.timer.set(self.counts);
        let taken = with_interrupts(|| {
            let taken = (0..PATIENCE).any(|_| {
                slow();
                trap::interrupts() != before
            });
            slow();
            taken
        });
        taken && trap::interrupts() == before + 1
    }

    fn highest_first(&self) -> bool {
        let send = |vector: &u8| self.apic.send(SELF | u32::from(*vector));
        [trap::LOW_VECTOR, trap::HIGH_VECTOR].iter().for_each(send);
        slow();
        let early = trap::order();
        accept();
        accept();
        early == 0 && trap::order() == u64::from(trap::HIGH_VECTOR) << 8 | u64::from(trap::LOW_VECTOR)
    }

    /// Has the timer come faster than the extension can be stopped and go on.
    fn extension_survives_storm(&self) -> bool {
        let there = plinth::is_there();
        self.timer.repeat(STORM);
        (0..MANY).for_each(|_| slow());
        self.timer.stop();
        accept();
        plinth::is_there() == there
    }
}

/// Interrupts are off before and afterwards.
fn with_interrupts<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: The timer's interrupt has a handler, and no other one comes.
    unsafe { core::arch::asm!("sti", options(nomem, nostack)) };
    let result = work();
    // SAFETY: As it was.
    unsafe { core::arch::asm!("cli", options(nomem, nostack)) };
    result
}

fn ticks(report: &mut Report, apic: Apic, timer: &Timer) {
    slow();
    let shots = Shots { apic, timer, counts: timer.measure(slow) / 4 };
    check!(report, "waits-for-interrupts-on", (0..MANY).all(|_| shots.waits_for_interrupts_on()));
    check!(report, "comes-at-once", (0..MANY).all(|_| shots.comes_at_once()));
    check!(report, "waits-for-task-priority", (0..MANY).all(|_| shots.waits_for_task_priority()));
    check!(report, "highest-first", (0..MANY).all(|_| shots.highest_first()));
    check!(report, "a-storm-does-not-stop-the-extension", shots.extension_survives_storm());
}
