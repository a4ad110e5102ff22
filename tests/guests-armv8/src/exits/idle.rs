//! A root VM at rest takes no exit, and neither does one that works.

use core::arch::asm;

use plinth_test_guests_armv8::machine::Gic;
use plinth_test_guests_armv8::{Machine, Report, check, gic, plinth, system};

/// Ticks of the guest's clock, at 10 ms each.
const TICKS: u64 = 100;

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    if machine.reservation().is_none() {
        return;
    }
    // The call that reads the counter is counted itself.
    let first = plinth::exits();
    check!(report, "exits-are-counted", plinth::exits() - first, 1);
    if machine.gic == Gic::None {
        report.skip("no-exit-at-rest", "this test knows no interrupt controller here");
        return;
    }
    let before = plinth::exits();
    for _ in 0..TICKS {
        sleep();
    }
    check!(report, "no-exit-at-rest", plinth::exits() - before, 1);
}

/// Sleeps until the timer's interrupt has been handled.
fn sleep() {
    let before = gic::timer_count(system::affinity());
    gic::set_timer(10);
    while gic::timer_count(system::affinity()) == before {
        // SAFETY: sleeps until the interrupt, which is taken right afterwards.
        unsafe { asm!("wfi", options(nostack)) };
        gic::open(true);
        gic::open(false);
    }
}
