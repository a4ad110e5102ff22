//! PSCI as an OS uses it: a processor is started, stopped and started again.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plinth_test_guests_armv8::calls::{
    self, AFFINITY_INFO, ALREADY_ON, CPU_OFF, CPU_ON, CPU_SUSPEND, INVALID_PARAMETERS, NOT_SUPPORTED,
    PSCI_FEATURES,
};
use plinth_test_guests_armv8::machine::{Conduit, Gic};
use plinth_test_guests_armv8::{Machine, Report, check, entry, gic, secondary, system};

/// AFFINITY_INFO: on, off.
const ON: u64 = 0;
const OFF: u64 = 1;
/// An affinity that no machine has.
const NOBODY: u64 = 0xFF_00FE_FDFC;
/// How long a processor may take, in milliseconds of the machine's own clock.
const PATIENCE: u64 = 20_000;

/// The number of the start after which the other processor may stop itself.
static GO: AtomicU64 = AtomicU64::new(0);
static BY_HVC: AtomicBool = AtomicBool::new(false);

pub(crate) fn run(report: &mut Report, machine: &Machine) {
    if machine.conduit == Conduit::None {
        report.skip("psci", "the device tree names no firmware");
        return;
    }
    let call = |function, first, second, third| {
        calls::result(calls::firmware(machine.conduit, [function, first, second, third]))
    };
    check!(report, "features-cpu-on", call(PSCI_FEATURES, CPU_ON, 0, 0), 0);
    check!(report, "features-unknown", call(PSCI_FEATURES, 0x8400_00FF, 0, 0), NOT_SUPPORTED);
    check!(report, "affinity-info-of-itself", call(AFFINITY_INFO, system::affinity(), 0, 0), ON);
    check!(report, "affinity-info-of-nobody", call(AFFINITY_INFO, NOBODY, 0, 0), INVALID_PARAMETERS);
    check!(report, "cpu-on-nobody", call(CPU_ON, NOBODY, 0x4000_0000, 0), INVALID_PARAMETERS);
    check!(report, "cpu-on-itself", call(CPU_ON, system::affinity(), 0x4000_0000, 0), ALREADY_ON);
    suspend(report, machine);
    match machine.another() {
        Some(other) => processors(report, machine, other),
        None => report.skip("cpu-on", "this machine has one processor"),
    }
}

/// CPU_SUSPEND to a standby state: it ends with the timer's interrupt.
fn suspend(report: &mut Report, machine: &Machine) {
    if machine.gic == Gic::None {
        return;
    }
    let before = gic::timer_count(system::affinity());
    gic::set_timer(20);
    let answer = calls::result(calls::firmware(machine.conduit, [CPU_SUSPEND, 0, 0, 0]));
    gic::open(true);
    let came = system::wait(1000, || gic::timer_count(system::affinity()) > before);
    gic::open(false);
    check!(report, "suspend", (answer, came), (0, true));
}

fn processors(report: &mut Report, machine: &Machine, other: u64) {
    let call = |function, first, second, third| {
        calls::result(calls::firmware(machine.conduit, [function, first, second, third]))
    };
    let info = || call(AFFINITY_INFO, other, 0, 0);
    BY_HVC.store(machine.conduit == Conduit::Hvc, Ordering::Relaxed);
    check!(report, "other-is-off", info(), OFF);
    for (number, name, again, off) in
        [(1, "cpu-on", "already-on", "cpu-off"), (2, "cpu-on-again", "already-on-again", "cpu-off-again")]
    {
        let (entry, context) = secondary::prepare(park_until_told, number);
        check!(report, name, call(CPU_ON, other, entry, context), 0);
        let came = system::wait(PATIENCE, || secondary::arrived() == number);
        check!(report, "the-other-arrives", (came, secondary::context()), (true, context));
        check!(report, again, call(CPU_ON, other, entry, context), ALREADY_ON);
        check!(report, "the-other-is-on", info(), ON);
        GO.store(number, Ordering::Release);
        check!(report, off, system::wait(PATIENCE, || info() == OFF));
    }
}

/// Waits until the boot processor says so, and stops itself.
fn park_until_told(number: u64) -> ! {
    while GO.load(Ordering::Acquire) != number {
        core::hint::spin_loop();
    }
    let conduit = if BY_HVC.load(Ordering::Relaxed) { Conduit::Hvc } else { Conduit::Smc };
    calls::firmware(conduit, [CPU_OFF, 0, 0, 0]);
    entry::stop()
}
