//! Interrupts from processor to processor, of every kind.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_guests_armv8::calls::{self, CPU_ON};
use plinth_test_guests_armv8::gic::To;
use plinth_test_guests_armv8::machine::{Conduit, Gic};
use plinth_test_guests_armv8::{Machine, Report, check, gic, plinth, secondary, system};

/// In the machine's own milliseconds.
const PATIENCE: u64 = 20_000;
/// How many interrupts are counted for exits.
const MANY: u64 = 100;

static READY: AtomicU64 = AtomicU64::new(0);

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    if machine.gic == Gic::None {
        report.skip("ipi", "this test knows no interrupt controller here");
        return;
    }
    let own = system::affinity();
    arrives(report, machine, "ipi-to-itself", To::One(own), own, 1);
    arrives(report, machine, "ipi-to-itself-by-name", To::Itself, own, 2);
    let other = machine.another().filter(|_| machine.conduit != Conduit::None);
    let Some(other) = other.filter(|other| start(machine, *other)) else {
        report.skip("ipi-to-others", "no other processor can be started");
        return;
    };
    arrives(report, machine, "ipi-to-one", To::One(other), other, 3);
    let before = gic::count(own, 4);
    arrives(report, machine, "ipi-to-others", To::Others, other, 4);
    check!(report, "ipi-to-others-not-itself", gic::count(own, 4), before);
    if machine.reservation().is_some() {
        without_exits(report, machine, own);
    }
}

/// Sends interrupt `number` and waits for it.
fn arrives(report: &mut Report, machine: &Machine, name: &str, to: To, at: u64, number: u32) {
    let before = gic::count(at, number);
    gic::open(true);
    gic::send(machine.gic, to, number);
    let came = system::wait(PATIENCE, || gic::count(at, number) == before + 1);
    gic::open(false);
    check!(report, name, came);
}

/// Interrupts cost no exit, neither their sender nor their receiver.
fn without_exits(report: &mut Report, machine: &Machine, own: u64) {
    let before = plinth::exits();
    for _ in 0..MANY {
        let seen = gic::count(own, 5);
        gic::open(true);
        gic::send(machine.gic, To::Itself, 5);
        system::wait(PATIENCE, || gic::count(own, 5) > seen);
        gic::open(false);
    }
    check!(report, "interrupts-without-exits", plinth::exits() - before, 1);
}

fn start(machine: &Machine, other: u64) -> bool {
    let seen = secondary::arrived();
    let (entry, context) = secondary::prepare(serve, gic_words(machine.gic));
    let started = calls::result(calls::firmware(machine.conduit, [CPU_ON, other, entry, context])) == 0;
    started
        && system::wait(PATIENCE, || secondary::arrived() > seen)
        && system::wait(PATIENCE, || READY.load(Ordering::Acquire) != 0)
}

static GIC: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Leaves what the other processor has to know of the controller.
fn gic_words(gic: Gic) -> u64 {
    let words = match gic {
        Gic::None => [0; 3],
        Gic::V2(distributor, interface) => [2, distributor, interface],
        Gic::V3(distributor, redistributors) => [3, distributor, redistributors],
    };
    for (place, word) in GIC.iter().zip(words) {
        place.store(word, Ordering::Release);
    }
    0
}

/// Takes interrupts for ever.
fn serve(_: u64) -> ! {
    let [kind, first, second] = [0, 1, 2].map(|index: usize| GIC[index].load(Ordering::Acquire));
    gic::enable(if kind == 2 { Gic::V2(first, second) } else { Gic::V3(first, second) });
    gic::open(true);
    READY.store(1, Ordering::Release);
    loop {
        // SAFETY: sleeps until an interrupt, which the vectors handle.
        unsafe { core::arch::asm!("wfi", options(nostack)) };
    }
}
