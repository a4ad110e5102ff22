//! Asks the firmware for its version again and again, while the extension `races` makes of that on a second processor the call
//! that starts a third one. The firmware must never hear that call: the third processor starts under Plinth, or not at all.

#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_extensions::race::{
    PSCI_VERSION, RACE_END, RACE_OVER, RACE_STRIKE, RACE_STRIKES, RACE_VICTIM,
};
use plinth_test_guests_armv8::calls::{self, AFFINITY_INFO, CPU_OFF, CPU_ON};
use plinth_test_guests_armv8::machine::Conduit;
use plinth_test_guests_armv8::{Machine, Report, check, entry, plinth, reserved, say, secondary, system};

/// In the machine's own milliseconds.
const PATIENCE: u64 = 20_000;
/// How often the firmware is asked.
const ROUNDS: u64 = 20_000;

/// Where the hypervisor's memory begins.
static RESERVATION: AtomicU64 = AtomicU64::new(0);
/// How the firmware is called: 1 by SMC.
static BY_SMC: AtomicU64 = AtomicU64::new(0);
/// How often the third processor has run, and how often it has found Plinth.
static RAN: AtomicU64 = AtomicU64::new(0);
static UNDER_PLINTH: AtomicU64 = AtomicU64::new(0);

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("race", &machine);
    let own = system::affinity();
    let mut others = machine.processors().filter(|affinity| *affinity != own);
    match (machine.reservation(), others.next(), others.next()) {
        (Some(reservation), Some(second), Some(third)) => {
            RESERVATION.store(reservation.start, Ordering::SeqCst);
            BY_SMC.store(u64::from(matches!(machine.conduit, Conduit::Smc)), Ordering::SeqCst);
            race(&mut report, machine.conduit, second, third);
        }
        _ => report.skip("race", "there is no Plinth, or there are less than three processors"),
    }
    report.done(&machine)
}

fn ask(what: u64) -> u64 {
    calls::hvc([TEST_HYPERCALL, what, 0, 0])[0]
}

fn race(report: &mut Report, conduit: Conduit, second: u64, third: u64) {
    check!(report, "victim", ask(RACE_VICTIM), 0);
    let (entry, context) = secondary::prepare_place(0, strike, 0);
    check!(
        report,
        "second-processor",
        calls::result(calls::firmware(conduit, [CPU_ON, second, entry, context])),
        0
    );
    check!(report, "strikes-begin", system::wait(PATIENCE, || ask(RACE_STRIKES) > 0));
    let (entry, context) = secondary::prepare_place(1, looks, 0);
    let version = calls::result(calls::firmware(conduit, [PSCI_VERSION, 0, 0, 0]));
    let mut others = 0;
    for _ in 0..ROUNDS {
        let answer = calls::result(calls::firmware(conduit, [PSCI_VERSION, third, entry, context]));
        others += u64::from(answer != version);
    }
    let strikes = ask(RACE_STRIKES);
    check!(report, "strikes-end", system::wait(PATIENCE, || ask(RACE_END) == RACE_OVER));
    let off = || calls::result(calls::firmware(conduit, [AFFINITY_INFO, third, 0, 0])) == 1;
    check!(report, "third-processor-is-off-again", system::wait(PATIENCE, off));
    let (ran, under_plinth) = (RAN.load(Ordering::SeqCst), UNDER_PLINTH.load(Ordering::SeqCst));
    say!(
        "{ROUNDS} calls, {strikes} strikes; {others} had another answer, the third processor ran {ran} times"
    );
    check!(report, "strikes-go-on", strikes > 1);
    check!(report, "third-processor-is-under-plinth", under_plinth, ran);
}

/// The second processor.
fn strike(_: u64) -> ! {
    ask(RACE_STRIKE);
    loop {
        core::hint::spin_loop();
    }
}

/// The third processor: whether it is under Plinth, by its answer and by the reservation, which reads as zeroes.
fn looks(_: u64) -> ! {
    RAN.fetch_add(1, Ordering::SeqCst);
    let hidden = reserved::is_zero(RESERVATION.load(Ordering::SeqCst)) == Some(true);
    if hidden && plinth::report() {
        UNDER_PLINTH.fetch_add(1, Ordering::SeqCst);
    }
    let conduit = if BY_SMC.load(Ordering::SeqCst) == 1 { Conduit::Smc } else { Conduit::Hvc };
    calls::firmware(conduit, [CPU_OFF, 0, 0, 0]);
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST race panicked FAILED: {info}");
    entry::stop()
}
