//! WFI and WFE.

use core::arch::asm;

use plinth_test_guests_armv8::machine::Gic;
use plinth_test_guests_armv8::{Machine, Report, check, gic, system};

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    // SAFETY: the first WFE finds the event that SEV has left.
    unsafe { asm!("sevl", "wfe", "sev", "wfe", options(nostack)) };
    check!(report, "wfe-with-an-event", true);
    if machine.gic == Gic::None {
        report.skip("wfi", "this test knows no interrupt controller here");
        return;
    }
    let before = gic::timer_count(system::affinity());
    let start = system::ticks();
    gic::set_timer(20);
    // SAFETY: sleeps until the timer rings, which is masked and comes afterwards.
    unsafe { asm!("wfi", options(nostack)) };
    let slept = system::ticks() - start;
    check!(report, "wfi-sleeps", slept >= 19 * system::ticks_per_millisecond());
    check!(report, "masked-timer-waits", gic::timer_count(system::affinity()), before);
    gic::open(true);
    let came = system::wait(1000, || gic::timer_count(system::affinity()) > before);
    gic::open(false);
    check!(report, "timer-interrupt", came);
}
