//! Starts another processor again and again after its extension has been made to crash, or under one that cannot have that
//! processor: either it arrives each time, or it is off again each time and may be tried once more.

#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_guests_armv8::machine::Conduit;
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, say, secondary, system, trap};

/// AFFINITY_INFO: on, and off.
const ON: u64 = 0;
const OFF: u64 = 1;
/// How often the processor is started.
const ROUNDS: u64 = 3;
/// Milliseconds in which a processor arrives or is off.
const PATIENCE: u64 = 5_000;

/// How many hypercalls of the other processor were undefined.
static UNDEFINED: AtomicU64 = AtomicU64::new(0);

/// Makes the test hypercall. Returns whether it was answered.
fn is_answered() -> bool {
    trap::catch(|| _ = calls::hvc([TEST_HYPERCALL, 0, 0, 0])).is_none()
}

/// What the other processor does: asks the extension something, and stops.
fn work(conduit: u64) -> ! {
    UNDEFINED.fetch_add(u64::from(!is_answered()), Ordering::Release);
    let conduit = if conduit == 0 { Conduit::Smc } else { Conduit::Hvc };
    calls::firmware(conduit, [calls::CPU_OFF, 0, 0, 0]);
    entry::stop()
}

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("starts", &machine);
    let Some(other) = machine.another() else {
        report.skip("starts", "there is no other processor");
        report.done(&machine)
    };
    say!("starts: the hypercall that may be the extension's end is answered: {}", is_answered());
    let call = |number, arguments: [u64; 3]| {
        let [first, second, third] = arguments;
        calls::result(calls::firmware(machine.conduit, [number, first, second, third]))
    };
    let info = || call(calls::AFFINITY_INFO, [other, 0, 0]);
    let smc = machine.conduit == Conduit::Smc;
    let mut off = 0;
    for round in 1..=ROUNDS {
        let (address, context) = secondary::prepare(work, u64::from(!smc));
        check!(report, "starts", call(calls::CPU_ON, [other, address, context]), 0);
        let arrives = || secondary::arrived() == round;
        system::wait(PATIENCE, || arrives() || info() == OFF);
        off += u64::from(!arrives());
        check!(report, "is-off-again", system::wait(PATIENCE, || info() == OFF));
    }
    check!(report, "tells-what-it-is", call(calls::AFFINITY_INFO, [system::affinity(), 0, 0]), ON);
    let arrived = secondary::arrived();
    check!(report, "all-or-none", arrived == ROUNDS && off == 0 || arrived == 0 && off == ROUNDS);
    check!(report, "no-dead-extension-answers", UNDEFINED.load(Ordering::Acquire), arrived);
    say!("TEST starts arrived={arrived} off={off} ok");
    report.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST starts panicked FAILED: {info}");
    entry::stop()
}
