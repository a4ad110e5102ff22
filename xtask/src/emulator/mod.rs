//! Runs a board's emulator: the command line, the process, and what its console says.

mod console;
mod process;
mod watch;

pub(crate) use process::Process;
pub(crate) use watch::{Ended, Until, Watch, Watched, watch};

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::board::{Board, Emulator};
use crate::debian;
use crate::volume::Volume;

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
    volume: PathBuf,
    folder: PathBuf,
    /// How many CPUs.
    pub(crate) cpus: u32,
    /// How much memory, in MiB.
    pub(crate) memory: u32,
    /// The user's or the test's arguments.
    pub(crate) arguments: Vec<String>,
}

impl<'a> Machine<'a> {
    /// The board's machine with `volume` as its disk. Its files are in `folder`, which must outlive it.
    pub(crate) fn new(board: &'a Board, volume: &Volume, folder: &Path) -> Result<Self> {
        let emulator = board.emulator()?;
        let image = folder.join("volume.img");
        volume.write_fat(&image)?;
        let (cpus, memory) = (emulator.cpus, emulator.memory);
        Ok(Self { emulator, volume: image, folder: folder.to_owned(), cpus, memory, arguments: Vec::new() })
    }

    /// The command that runs it.
    pub(crate) fn command(&self, console: &Console<'_>) -> Command {
        let mut command = launcher(&self.emulator.program);
        let emulator = self.emulator;
        let size = (self.cpus.to_string(), format!("{}M", self.memory));
        command.args(["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"]);
        command.args(["-machine", &emulator.machine, "-accel", &emulator.accelerator, "-cpu", &emulator.cpu]);
        command.args(["-smp", &size.0, "-m", &size.1]);
        command.args(self.disks()).args(console.arguments());
        command.args(["-trace", "qemu_system_shutdown_request", "-D"]).arg(self.trace());
        command.args(&emulator.arguments).args(&self.arguments);
        command
    }

    /// The firmware's two flash chips and the boot volume. Nothing of what the guest writes is kept.
    fn disks(&self) -> [String; 8] {
        let firmware = &self.emulator.firmware;
        let flash = |unit, mode, path: &Path| {
            format!("if=pflash,format=raw,unit={unit},{mode}=on,file={}", escaped(path))
        };
        let volume = format!("if=none,id=volume,format=raw,snapshot=on,file={}", escaped(&self.volume));
        let code = flash(0, "readonly", &firmware.code);
        let variables = flash(1, "snapshot", &firmware.variables);
        let device = "ide-hd,drive=volume,bootindex=0".to_owned();
        ["-drive".into(), code, "-drive".into(), variables, "-drive".into(), volume, "-device".into(), device]
    }

    /// What the emulator itself records: its shutdown.
    pub(crate) fn trace(&self) -> PathBuf {
        self.folder.join("emulator.log")
    }
}

impl Console<'_> {
    fn arguments(&self) -> Vec<String> {
        let (device, monitor) = match self {
            Self::Terminal(log) => ("stdio,id=console,mux=on,signal=off".to_owned() + &log_file(*log), true),
            Self::Output => ("file,id=console,path=/dev/stdout".to_owned(), false),
            Self::Socket(socket, log) => (
                format!("socket,id=console,path={},server=on,wait=off", escaped(socket))
                    + &log_file(Some(log)),
                false,
            ),
        };
        let mut arguments =
            vec!["-chardev".to_owned(), device, "-serial".to_owned(), "chardev:console".to_owned()];
        if monitor {
            arguments.extend(["-mon".to_owned(), "chardev=console,mode=readline".to_owned()]);
        }
        arguments
    }
}

/// The emulator's exit status after the guest wrote `value` to its exit device.
pub(crate) fn exit_device_status(value: u8) -> i32 {
    i32::from(value) << 1 | 1
}

fn log_file(path: Option<&Path>) -> String {
    path.map(|path| format!(",logfile={}", escaped(path))).unwrap_or_default()
}

/// The program, started so that it ends when this tool does, even when this tool is killed.
fn launcher(program: &str) -> Command {
    if !debian::has_program("setpriv") {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--", program]);
    command
}

/// QEMU takes a comma in a path when it is doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(console: &Console<'_>) -> String {
        let boards = crate::workspace::manifest_folder().join("../boards");
        let board = crate::board::find(&boards, crate::cli::DEFAULT_BOARD).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::new(&board, &Volume::default(), folder.path()).unwrap();
        format!("{:?}", machine.command(console))
    }

    #[test]
    fn the_command_has_the_manifests_facts() {
        let text = arguments(&Console::Output);
        for part in
            ["\"EPYC\"", "\"q35\"", "\"-smp\" \"2\"", "\"1024M\"", "OVMF_CODE_4M.fd", "isa-debug-exit"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn only_a_terminal_has_the_monitor() {
        assert!(arguments(&Console::Terminal(None)).contains("mode=readline"));
        assert!(!arguments(&Console::Output).contains("mode=readline"));
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_it() {
        assert!(arguments(&Console::Terminal(Some(Path::new("/a,b")))).contains("logfile=/a,,b"));
    }
}
