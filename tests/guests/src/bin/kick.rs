//! Has an extension kick the other processors, which are in the firmware's idle loop: each kick is one exit of each.

#![no_std]
#![no_main]

use plinth_test_extensions::{KICK_OTHERS, KICKS_SEEN, TEST_HYPERCALL};
use plinth_test_guests::{Report, check, cpu, driver, plinth, trap};
use uefi::prelude::*;

/// How many kicks.
const MANY: u64 = 100;
/// How often it is looked whether a kick was seen.
const PATIENCE: u64 = 100_000;

fn ask(what: u64) -> u64 {
    plinth::hypercall(TEST_HYPERCALL, what).unwrap_or(u64::MAX)
}

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("kick");
    if plinth::is_there() {
        kick(&mut report);
    } else {
        report.skip("kick", "there is no Plinth to take the hypercall");
    }
    driver::lives(&mut report);
    report.done()
}

fn kick(report: &mut Report) {
    let others = ask(KICK_OTHERS);
    check!(report, "others", others, 1);
    check!(report, "kick-is-seen", seen(1));
    let all = (2..=MANY).all(|count| ask(KICK_OTHERS) == 1 && seen(count));
    check!(report, "every-kick-is-seen", all);
    cpu::pause(1_000_000);
    check!(report, "every-kick-is-seen-once", ask(KICKS_SEEN), MANY);
}

/// Whether so many exits have come of kicks, sooner or later.
fn seen(count: u64) -> bool {
    (0..PATIENCE).any(|_| ask(KICKS_SEEN) == count)
}
