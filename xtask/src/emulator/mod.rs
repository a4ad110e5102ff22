//! Runs a board's emulator: the command line, the process, and what its console says.

mod backports;
mod bochs;
mod console;
mod process;
mod qemu;
mod watch;

pub(crate) use backports::{NoNewerEmulator, fetch};
pub(crate) use process::Process;
pub(crate) use watch::{Ended, Until, Watch, Watched, watch};

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::Result;

use crate::board::{Board, Emulator};
use crate::debian;
use crate::volume::{Medium, Volume};

/// Where the guest's serial console goes.
pub(crate) enum Console<'a> {
    /// The user's terminal, both ways, and to a file if wanted.
    Terminal(Option<&'a Path>),
    /// Standard output, for [`watch`].
    Output,
    /// A socket for a person, and a file.
    Socket(&'a Path, &'a Path),
}

/// A machine to emulate.
pub(crate) struct Machine<'a> {
    emulator: &'a Emulator,
    medium: Medium,
    folder: PathBuf,
    /// How many CPUs.
    pub(crate) cpus: u32,
    /// How much memory, in MiB.
    pub(crate) memory: u32,
    /// It runs without Plinth.
    pub(crate) bare: bool,
    /// Another processor than the board's, where the emulator takes it by name.
    pub(crate) model: Option<&'a str>,
    /// Where QEMU keeps its memory, if that is to be read afterwards.
    pub(crate) memory_file: Option<PathBuf>,
    /// The user's or the test's arguments.
    pub(crate) arguments: Vec<String>,
}

impl<'a> Machine<'a> {
    /// The board's machine with `volume` to boot from. Its files are in `folder`, which must outlive it.
    pub(crate) fn new(board: &'a Board, volume: &Volume, folder: &Path) -> Result<Self> {
        let emulator = board.emulator()?;
        Ok(Self {
            emulator,
            medium: volume.write(folder)?,
            folder: folder.to_owned(),
            cpus: emulator.cpus(),
            memory: emulator.memory(),
            bare: false,
            model: None,
            memory_file: None,
            arguments: Vec::new(),
        })
    }

    /// The command that runs it.
    pub(crate) fn command(&self, console: &Console<'_>) -> Result<Command> {
        match self.emulator {
            Emulator::Qemu(qemu) => qemu::command(self, qemu, console),
            Emulator::Bochs(bochs) => bochs::command(self, bochs, console),
        }
    }

    /// What the emulator itself records: its shutdown, and why a guest was not entered.
    pub(crate) fn trace(&self) -> PathBuf {
        self.folder.join("emulator.log")
    }

    /// What a person at its terminal has to know.
    pub(crate) const fn how_to_leave(&self) -> &'static str {
        match self.emulator {
            Emulator::Qemu(_) => "Ctrl-A x ends the emulator, Ctrl-A h lists what else it can do.",
            Emulator::Bochs(_) => {
                "Every key goes to the guest; its `poweroff` ends the emulator. The first minute passes in silence, or nearly so."
            }
        }
    }

    /// Whether the emulator's exit status says that something went wrong. Bochs' does not: it is 1 after a power-off.
    pub(crate) fn failed(&self, status: ExitStatus) -> bool {
        match self.emulator {
            Emulator::Qemu(_) => !status.success(),
            Emulator::Bochs(_) => status.code().is_none_or(|code| code > 1),
        }
    }

    /// Lines of that record that explain a failure.
    pub(crate) fn complaints(&self) -> Vec<String> {
        match self.emulator {
            Emulator::Qemu(_) => Vec::new(),
            Emulator::Bochs(_) => bochs::complaints(&self.record()),
        }
    }

    /// The beginning of that record: a guest that hangs can have its emulator write without end.
    pub(crate) fn record(&self) -> String {
        const ENOUGH: u64 = 16 << 20;
        let mut record = Vec::new();
        if let Ok(file) = File::open(self.trace()) {
            let _ = file.take(ENOUGH).read_to_end(&mut record);
        }
        String::from_utf8_lossy(&record).into_owned()
    }
}

/// The emulator's exit status after the guest wrote `value` to its exit device.
pub(crate) fn exit_device_status(value: u8) -> i32 {
    i32::from(value) << 1 | 1
}

/// The program, started so that it ends when this tool does, even when this tool is killed.
fn launcher(program: impl AsRef<OsStr>) -> Command {
    if !debian::has_program("setpriv") {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}
