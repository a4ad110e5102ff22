//! Sets off the extension `feud`: the second processor takes away what the first one's calls are about.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_extensions::race::{RACE_STRIKE, RACE_VICTIM};
use plinth_test_guests_armv8::calls::{self, CPU_ON};
use plinth_test_guests_armv8::{Machine, Report, check, entry, plinth, say, secondary};

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("feud", &machine);
    match machine.another().filter(|_| machine.reservation().is_some()) {
        Some(other) => {
            let (entry, context) = secondary::prepare(strike, 0);
            let answer = calls::firmware(machine.conduit, [CPU_ON, other, entry, context]);
            check!(report, "second-processor", calls::result(answer), 0);
            check!(report, "no-leaks", calls::hvc([TEST_HYPERCALL, RACE_VICTIM, 0, 0])[0], 0);
            check!(report, "plinth-is-there-still", plinth::report());
        }
        None => report.skip("feud", "there is no Plinth, or no second processor"),
    }
    report.done(&machine)
}

/// The second processor.
fn strike(_: u64) -> ! {
    calls::hvc([TEST_HYPERCALL, RACE_STRIKE, 0, 0]);
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST feud panicked FAILED: {info}");
    entry::stop()
}
