//! Turns to page tables of five levels under Plinth, whose own have four: the guest lives with them, and is not given the
//! processor back.

#![no_std]
#![no_main]

use plinth_extension_api::abi::{HYPERCALL_REFUSED, HYPERCALL_STOP};
use plinth_test_guests::{Report, check, driver, five_levels, plinth, trap};
use uefi::prelude::*;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("five-levels");
    check!(report, "four-at-first", !five_levels::are_there());
    // SAFETY: The test's processor has LA57, and the firmware's memory lies below 4 GiB.
    check!(report, "five-afterwards", unsafe { five_levels::switch_on() });
    if plinth::is_there() {
        check!(report, "stop-is-refused", plinth::hypercall(HYPERCALL_STOP, 0), Ok(HYPERCALL_REFUSED));
        check!(report, "plinth-is-still-there", plinth::is_there());
    } else {
        report.skip("stop-is-refused", "there is no Plinth to leave");
    }
    driver::lives(&mut report);
    report.done()
}
