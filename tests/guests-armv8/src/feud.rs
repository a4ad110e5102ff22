//! Sets off the extension `feud`: the second processor takes away what the first one's calls are about.

#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_extensions::race::{FEUD_LEAKS, FEUD_NEGLECTS, FEUD_PREPARE, RACE_STRIKE, RACE_VICTIM};
use plinth_test_guests_armv8::calls::{self, CPU_ON};
use plinth_test_guests_armv8::{Machine, Report, check, entry, plinth, say, secondary, system};

/// In the machine's own milliseconds.
const PATIENCE: u64 = 20_000;
/// The second processor is to begin.
static BEGIN: AtomicBool = AtomicBool::new(false);

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("feud", &machine);
    match machine.another().filter(|_| machine.reservation().is_some()) {
        Some(other) => {
            let (entry, context) = secondary::prepare(strike, 0);
            let answer = calls::firmware(machine.conduit, [CPU_ON, other, entry, context]);
            check!(report, "second-processor", calls::result(answer), 0);
            // Its VP and VS are there before it is counted what there is to have.
            check!(report, "second-arrives", system::wait(PATIENCE, || secondary::arrived() == 1));
            check!(report, "prepared", ask(FEUD_PREPARE), 0);
            BEGIN.store(true, Ordering::SeqCst);
            let wrong = ask(RACE_VICTIM);
            check!(report, "no-leaks", wrong & FEUD_LEAKS, 0);
            check!(report, "each-kind-succeeds", wrong & FEUD_NEGLECTS, 0);
            check!(report, "plinth-is-there-still", plinth::report());
        }
        None => report.skip("feud", "there is no Plinth, or no second processor"),
    }
    report.done(&machine)
}

fn ask(what: u64) -> u64 {
    calls::hvc([TEST_HYPERCALL, what, 0, 0])[0]
}

/// The second processor.
fn strike(_: u64) -> ! {
    while !BEGIN.load(Ordering::SeqCst) {
        core::hint::spin_loop();
    }
    ask(RACE_STRIKE);
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST feud panicked FAILED: {info}");
    entry::stop()
}
