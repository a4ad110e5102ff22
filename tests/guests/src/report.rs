//! The verdict of a guest: `TEST guest check ok` or `FAILED` for each check, then
//! `TEST guest done N passed, M failed`.

use crate::{say, serial};

/// QEMU's `isa-debug-exit` device: writing N ends the emulator with status 2 N + 1.
const EXIT_PORT: u16 = 0xf4;
/// Bochs' `iodebug` device: 8A00h enables it, 8AE0h stops at the debugger's prompt, which ends the emulator with
/// status 0.
const DEBUG_PORT: u16 = 0x8a00;
const DEBUG_ENABLE: u16 = 0x8a00;
const DEBUG_STOP: u16 = 0x8ae0;
/// Bochs' shutdown port: this word, letter by letter, ends the emulator with status 1.
const SHUTDOWN_PORT: u16 = 0x8900;
const SHUTDOWN: &[u8] = b"Shutdown";

/// Written to the exit device when every check passed: QEMU's status is 33.
pub const PASSED: u8 = 0x10;
/// Written to the exit device otherwise: QEMU's status is 35.
pub const FAILED: u8 = 0x11;

/// Counts the checks of one guest.
#[derive(Debug)]
pub struct Report {
    guest: &'static str,
    passed: u32,
    failed: u32,
}

impl Report {
    /// Starts the report of `guest`.
    pub fn new(guest: &'static str) -> Self {
        if !crate::plinth::is_there() {
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

    /// Ends the report and the emulator.
    pub fn done(self) -> ! {
        say!("TEST {} done {} passed, {} failed", self.guest, self.passed, self.failed);
        end(if self.failed == 0 { PASSED } else { FAILED })
    }
}

/// Ends the emulator; on a machine without an exit device, waits for ever.
///
/// QEMU's comes first: what follows is only reached where there is none. Bochs' ports are nobody's on QEMU.
pub fn end(value: u8) -> ! {
    serial::write_port(EXIT_PORT, value);
    if value == PASSED {
        serial::write_port_u16(DEBUG_PORT, DEBUG_ENABLE);
        serial::write_port_u16(DEBUG_PORT, DEBUG_STOP);
    }
    SHUTDOWN.iter().for_each(|letter| serial::write_port(SHUTDOWN_PORT, *letter));
    say!("no emulator to end; switch the machine off");
    loop {
        crate::cpu::halt();
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
