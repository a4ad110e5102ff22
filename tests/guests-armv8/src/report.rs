//! The verdict of a guest: `TEST guest check ok` or `FAILED` for each check, then
//! `TEST guest done N passed, M failed`.

use crate::calls::{self, SYSTEM_OFF};
use crate::machine::{Conduit, Machine};
use crate::{entry, say};

/// Counts the checks of one guest.
#[derive(Debug)]
pub struct Report {
    guest: &'static str,
    passed: u32,
    failed: u32,
}

impl Report {
    /// Starts the report of `guest`.
    pub fn new(guest: &'static str, machine: &Machine) -> Self {
        if machine.reservation().is_none() {
            say!("TEST {guest} runs on the bare machine, not under Plinth: only what holds there is checked");
        }
        Self { guest, passed: 0, failed: 0 }
    }

    /// Notes a check.
    pub fn check(&mut self, name: &str, passed: bool) {
        let verdict = if passed { "ok" } else { "FAILED" };
        say!("TEST {} {name} {verdict}", self.guest);
        if passed { self.passed += 1 } else { self.failed += 1 }
    }

    /// Says why something is not checked.
    pub fn skip(&self, name: &str, why: &str) {
        say!("TEST {} {name} skipped: {why}", self.guest);
    }

    /// Ends the report and the machine.
    pub fn done(self, machine: &Machine) -> ! {
        say!("TEST {} done {} passed, {} failed", self.guest, self.passed, self.failed);
        if machine.conduit != Conduit::None {
            let answer = calls::firmware(machine.conduit, [SYSTEM_OFF, 0, 0, 0])[0];
            say!("the firmware does not switch the machine off: {answer:#x}");
        }
        entry::stop()
    }
}

/// Checks a condition, with what was found where it does not hold: `check!(report, "name", condition)` or
/// `check!(report, "name", found, expected)`.
#[macro_export]
macro_rules! check {
    ($report:expr, $name:expr, $found:expr, $expected:expr) => {{
        let (found, expected) = ($found, $expected);
        if found != expected {
            $crate::say!("{}: found {found:x?}, not {expected:x?}", $name);
        }
        $report.check($name, found == expected);
    }};
    ($report:expr, $name:expr, $condition:expr) => {
        $report.check($name, $condition)
    };
}
