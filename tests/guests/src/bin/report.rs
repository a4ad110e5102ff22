//! Has the exit counts written to the log.

#![no_std]
#![no_main]

use plinth_extension_api::abi::HYPERCALL_REPORT;
use plinth_test_guests::{Report, check, plinth, trap};
use uefi::prelude::*;

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("report");
    if plinth::is_there() {
        let result = plinth::hypercall(HYPERCALL_REPORT, 0);
        check!(report, "hypercall", result, Ok(0));
    } else {
        report.skip("hypercall", "there is no Plinth to take it");
    }
    report.done()
}
