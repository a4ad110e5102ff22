//! Sets off an extension that crashes: the kernel takes over, and knows no such hypercall. A port that the extension has asked to
//! see is the machine's again.

#![no_std]
#![no_main]

use plinth_test_extensions::CRASH_PORT;
use plinth_test_guests::{Report, check, driver, probe};
use uefi::prelude::*;

#[entry]
fn main() -> Status {
    driver::run_and("crash", 0, driver::NOBODY, port)
}

fn port(report: &mut Report) {
    // SAFETY: nobody uses the register behind this port; it has a byte for programs.
    let (written, read) = unsafe {
        (
            probe!("out dx, al"; in("dx") CRASH_PORT, in("al") 0x5Au8),
            probe!("in al, dx"; in("dx") CRASH_PORT, out("al") _),
        )
    };
    check!(report, "port-is-the-machines", (written, read), (None, None));
}
