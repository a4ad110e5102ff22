//! The board tests, as data. A new test is a new entry in [`TESTS`].
//!
//! Take [`LINUX`] or [`GUEST`] as the base and say what differs:
//!
//! ```text
//! Test { name: "…", proves: "…", payload: Payload::Guest("exits"), expect: &["…"], ..GUEST }
//! ```

use anyhow::Result;

use super::board::Bench;
use super::{GUEST_PASSED, dmesg};
use crate::emulator::Watched;

/// A boot, and what must come of it.
pub(super) struct Test {
    /// Its name, unique: also that of its log file.
    pub(super) name: &'static str,
    /// What it shows, in one line.
    pub(super) proves: &'static str,
    /// What is started after the loader.
    pub(super) payload: Payload,
    /// More arguments for it.
    pub(super) command_line: &'static str,
    /// Without Plinth.
    pub(super) bare: bool,
    /// The extension: none for the default one, else a program of `tests/extensions`.
    pub(super) extension: Option<&'static str>,
    /// How many CPUs.
    pub(super) cpus: u32,
    /// MiB of memory.
    pub(super) memory: u32,
    /// More emulator arguments.
    pub(super) arguments: &'static [&'static str],
    /// Lines of `plinth.toml` that win over the usual ones, `KEY = VALUE`.
    pub(super) settings: &'static [&'static str],
    /// What is done to the files beside the loader before they are booted.
    pub(super) faults: &'static [Fault],
    /// Texts that must come over the console in this order.
    pub(super) expect: &'static [&'static str],
    /// Regular expressions that no line may match, beside those of every test.
    pub(super) forbid: &'static [&'static str],
    /// Regular expressions of every test that this one is meant to provoke.
    pub(super) allow: &'static [&'static str],
    /// How it ends.
    pub(super) end: End,
    /// Seconds it may take.
    pub(super) timeout: u64,
    /// A closer look at the console, after all else was well.
    pub(super) check: Option<Check>,
}

/// Looks at what came over a test's console.
pub(super) type Check = fn(&Bench<'_>, &Test, &Watched) -> Result<()>;

/// What a test starts.
#[allow(dead_code, reason = "each test picks one, and the table need not use all")]
#[derive(Clone, Copy)]
pub(super) enum Payload {
    /// The board's default: Debian's Linux.
    Default,
    /// An EFI application of `tests/guests`.
    Guest(&'static str),
}

/// How a test ends.
#[allow(dead_code, reason = "each test picks one, and the table need not use all")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The guest powers the machine off.
    PowerOff,
    /// The guest resets the machine.
    Reset,
    /// The guest ends the emulator by its exit device, having written this.
    Status(u8),
    /// The last expected text is enough.
    Seen,
}

/// How a file beside the loader is broken before the boot.
#[allow(dead_code, reason = "each test picks one, and the table need not use all")]
pub(super) enum Fault {
    /// It is not there.
    Missing(&'static str),
    /// Only its first bytes are.
    Truncated(&'static str, usize),
    /// It has this content.
    Replaced(&'static str, &'static [u8]),
    /// From an offset on it has these bytes.
    Patched(&'static str, usize, &'static [u8]),
}

/// Debian's Linux runs a test of `xtask/guest/test/` and powers off.
pub(super) const LINUX: Test = Test {
    name: "",
    proves: "",
    payload: Payload::Default,
    command_line: "plinth.test=smoke",
    bare: false,
    extension: None,
    cpus: 1,
    memory: 1024,
    arguments: &[],
    settings: &[],
    faults: &[],
    expect: &[],
    forbid: &[],
    allow: &[],
    end: End::PowerOff,
    timeout: 180,
    check: None,
};

/// An EFI application of `tests/guests` runs and ends the emulator with its verdict.
#[allow(dead_code, reason = "the base of tests with a guest of their own")]
pub(super) const GUEST: Test = Test {
    payload: Payload::Guest(""),
    command_line: "",
    end: End::Status(GUEST_PASSED),
    memory: 256,
    timeout: 60,
    ..LINUX
};

/// Linux prints its log, and a bare boot of the same prints the one to compare with.
const DMESG: Test = Test {
    command_line: "plinth.test=dmesg",
    expect: &["DMESG BEGIN", "DMESG END", "TEST dmesg ok", "reboot: Power down"],
    check: Some(dmesg::same_as_bare),
    ..LINUX
};

/// The guest's time follows its instructions, not the host's clock. One CPU only.
const REPEATABLE: &[&str] =
    &["-icount", "shift=4,sleep=off", "-rtc", "clock=vm,base=2026-01-01", "-seed", "1"];

const SIGNATURE: &str = "TEST smoke signature=PlinthPlinth";

/// Every board test, in the order they run.
pub(super) const TESTS: &[Test] = &[
    Test {
        name: "linux-bare-1",
        proves: "the smoke test holds without Plinth, through the same loader, on 1 CPU",
        bare: true,
        expect: &["TEST smoke cpus=1 ok", "reboot: Power down"],
        ..LINUX
    },
    Test {
        name: "linux-bare-2",
        proves: "the same on 2 CPUs",
        bare: true,
        cpus: 2,
        expect: &["TEST smoke cpus=2 ok", "reboot: Power down"],
        ..LINUX
    },
    Test {
        name: "linux-bare-4",
        proves: "the same on 4 CPUs",
        bare: true,
        cpus: 4,
        expect: &["TEST smoke cpus=4 ok", "reboot: Power down"],
        ..LINUX
    },
    Test {
        name: "linux-1",
        proves: "Debian's Linux boots as the root VM, works and powers off, on 1 CPU",
        expect: &[SIGNATURE, "TEST smoke cpus=1 ok", "reboot: Power down"],
        ..LINUX
    },
    Test {
        name: "linux-2",
        proves: "the same on 2 CPUs, with one taken off-line and back",
        cpus: 2,
        expect: &[SIGNATURE, "TEST smoke cpus=2 ok", "reboot: Power down"],
        ..LINUX
    },
    Test {
        name: "linux-4",
        proves: "the same on 4 CPUs",
        cpus: 4,
        expect: &[SIGNATURE, "TEST smoke cpus=4 ok", "reboot: Power down"],
        ..LINUX
    },
    Test {
        name: "linux-dmesg-1",
        proves: "Linux logs the same under Plinth as without, but for what a hypervisor explains",
        arguments: REPEATABLE,
        ..DMESG
    },
    Test { name: "linux-dmesg-2", proves: "the same on 2 CPUs", cpus: 2, ..DMESG },
];
