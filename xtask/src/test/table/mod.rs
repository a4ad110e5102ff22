//! The board tests, as data. A new test is a new entry in one of the tables that [`all`] joins.
//!
//! Take [`LINUX`] or [`GUEST`] as the base and say what differs:
//!
//! ```text
//! Test { name: "…", proves: "…", payload: Payload::Guest("exits"), expect: &["…"], ..GUEST }
//! ```

mod apic;
mod arm_registers;
mod armv8;
mod armv8_state;
mod bios;
mod boards;
mod debian;
mod examples;
mod extensions;
mod files;
mod guests;
mod hardening;
mod holes;
mod intel;
mod late_launch;
mod linux;
mod machines;
mod processor;
mod races;
mod registers;
mod released;
mod separate;
mod served;
mod startup;
mod takeover;
mod wild;

use anyhow::Result;

use super::GUEST_PASSED;
use super::board::Bench;
use crate::board::Board;
use crate::emulator::Watched;

/// A boot, and what must come of it.
#[derive(Clone, Copy)]
pub(super) struct Test {
    /// Its name, unique: the log file is called so too.
    pub(super) name: &'static str,
    /// The boards that it runs on.
    pub(super) boards: &'static [&'static str],
    /// What the test shows, in one line that `--list` can print without the lines around it.
    pub(super) proves: &'static str,
    /// What is started after the loader.
    pub(super) payload: Payload,
    /// More arguments for the payload.
    pub(super) command_line: &'static str,
    /// Without Plinth.
    pub(super) bare: bool,
    /// The extension: none for the default one, else a program of `extensions` or `tests/extensions`.
    pub(super) extension: Option<&'static str>,
    /// The version of the ABI for which the extension was built: a program of `tests/abi`, else it is built now.
    pub(super) released: Option<u32>,
    /// Another kernel than the board's, a program of the same package.
    pub(super) kernel: Option<&'static str>,
    /// A test guest in the loader's place, with all that the loader would have: it launches Plinth by itself.
    pub(super) loader: Option<&'static str>,
    /// Another processor than the board's, where the emulator takes it by name; on QEMU, see `arguments`.
    pub(super) model: Option<&'static str>,
    /// How many CPUs.
    pub(super) cpus: u32,
    /// MiB of memory.
    pub(super) memory: u32,
    /// More emulator arguments.
    pub(super) arguments: &'static [&'static str],
    /// Lines of `plinth.toml` that win over the usual ones, `KEY = VALUE`.
    pub(super) settings: &'static [&'static str],
    /// A state of virtualization, in a word of the guest `before`, which then starts the UEFI loader.
    pub(super) before: Option<&'static str>,
    /// The loader's file holds the device tree that the emulator makes, for faults to break.
    pub(super) own_tree: bool,
    /// A Linux version with Plinth's module, kernel image and extensions in the RAM disk. It boots without Plinth, which its test
    /// launches; or, where the test has an extension, with what the board's loader has launched.
    pub(super) late: Option<&'static Late>,
    /// Debian boots from a disk without Plinth, with the package installed: its test does what a person does.
    pub(super) debian: bool,
    /// Payload and RAM disk are not in the boot file of an Arm board: the emulator puts them into memory, and names them in
    /// the device tree's `/chosen`.
    pub(super) modules: bool,
    /// What is done to the files beside the loader before they are booted.
    pub(super) faults: &'static [Fault],
    /// Texts that must come over the console in this order.
    pub(super) expect: &'static [&'static str],
    /// Regular expressions that no line may match, beside those of every test.
    pub(super) forbid: &'static [&'static str],
    /// Regular expressions of every test that this one is meant to provoke.
    pub(super) allow: &'static [&'static str],
    /// A regular expression that matches something in the machine's memory at the end, on QEMU.
    pub(super) in_memory: Option<&'static str>,
    /// How it ends.
    pub(super) end: End,
    /// Seconds it may take.
    pub(super) timeout: u64,
    /// The long form of another one, which only `--full` wants.
    pub(super) full: bool,
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

/// Linux with what it takes to launch Plinth below it.
pub(super) struct Late {
    /// The version, one of `xtask/src/linux`.
    pub(super) linux: &'static str,
    /// The extensions, beside the default one.
    pub(super) extensions: &'static [&'static str],
    /// Modules of the kernel's that the test loads.
    pub(super) modules: &'static [&'static str],
    /// The kernel's image and a small RAM disk are there too, for a second kernel.
    pub(super) second_kernel: bool,
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
    /// These bytes are others, as many, wherever they are.
    Substituted(&'static str, &'static [u8], &'static [u8]),
    /// A device tree: the node of this path has such a property. One below the root is made if it is not there.
    Property(&'static str, &'static [&'static str], &'static str, &'static [u8]),
    /// An ELF file: its segment with code is writable too.
    WritableCode(&'static str),
    /// An ELF file: its second segment lies where the first one does.
    Overlapping(&'static str),
}

/// The board that most tests are for.
const AMD: &[&str] = &["qemu-q35-amd"];

/// Debian's Linux runs a test of `xtask/guest/test/` and powers off.
pub(super) const LINUX: Test = Test {
    name: "",
    boards: AMD,
    proves: "",
    payload: Payload::Default,
    command_line: "plinth.test=smoke",
    bare: false,
    extension: None,
    released: None,
    kernel: None,
    loader: None,
    model: None,
    cpus: 1,
    memory: 1024,
    arguments: &[],
    settings: &[],
    before: None,
    own_tree: false,
    late: None,
    debian: false,
    modules: false,
    faults: &[],
    expect: &[],
    forbid: &[],
    allow: &[],
    in_memory: None,
    end: End::PowerOff,
    timeout: 180,
    full: false,
    check: None,
};

/// Linux works on after its extension has made a million hostile calls while it booted.
pub(super) const HOSTILE: Test = Test {
    name: "linux-hostile",
    proves: "Linux boots on and works after an extension has made a million hostile system calls meanwhile",
    extension: Some("hostile-later"),
    settings: LONG_TURNS,
    expect: &["extension: hostile: 10", ", 0 leaks", "TEST smoke cpus=1 ok", POWER_DOWN],
    forbid: &["no handle any more"],
    ..LINUX
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

/// Plinth cannot be launched, the loader says why, and Linux boots without it.
const NOT_LAUNCHED: Test = Test { command_line: "plinth.test=bare", cpus: 2, ..LINUX };

/// For extensions that do all their work in one turn: on a busy host that takes long.
const LONG_TURNS: &[&str] = &["watchdog = 600000"];

/// What the loader says before it starts the payload without Plinth.
const GOING_ON: &str = "plinth: going on without Plinth";
/// The verdict of the test `bare`: no CPU shows Plinth's signature.
const BARE_1: &str = "TEST bare cpus=1 ok";
const BARE_2: &str = "TEST bare cpus=2 ok";
const BARE_4: &str = "TEST bare cpus=4 ok";
/// What the test `smoke` says of the signature.
const SIGNATURE: &str = "TEST smoke signature=PlinthPlinth";
const POWER_DOWN: &str = "reboot: Power down";
/// What the guest VM of the example `guest-vm` says, and the root VM.
const GUEST_VM: &[&str] = &[
    "extension: guest-vm: it says: hello from a guest VM",
    "extension: guest-vm: it says: !",
    "extension: guest-vm: it ends with 0x0",
    "TEST guest-vm done ",
];

/// The tests of a board, in the order they run.
pub(super) fn of(board: &Board) -> impl Iterator<Item = &'static Test> {
    all().filter(|test| test.boards.contains(&board.name.as_str()))
}

/// Every board test.
pub(super) fn all() -> impl Iterator<Item = &'static Test> {
    built_now().chain(released::TESTS.iter())
}

/// Those whose extension is built from this tree.
fn built_now() -> impl Iterator<Item = &'static Test> {
    let tables = [
        linux::TESTS,
        late_launch::TESTS,
        debian::TESTS,
        guests::TESTS,
        hardening::TESTS,
        holes::TESTS,
        examples::TESTS,
        machines::TESTS,
        registers::TESTS,
        processor::TESTS,
        files::TESTS,
        extensions::TESTS,
        bios::TESTS,
        apic::TESTS,
        intel::TESTS,
        separate::TESTS,
        served::TESTS,
        armv8::TESTS,
        armv8_state::TESTS,
        arm_registers::TESTS,
        boards::TESTS,
        startup::TESTS,
        takeover::TESTS,
        races::TESTS,
        wild::TESTS,
    ];
    tables.into_iter().flatten()
}
