//! `cargo xtask debug`: a board's emulator under gdb, with symbols where the kernel was really loaded.
//!
//! The loader chooses the kernel's address anew at each boot, and the kernel logs it. A small script inside gdb waits
//! for that line, loads the symbols there and stops; after that gdb is the user's.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::artifacts::Images;
use crate::cli::DebugOptions;
use crate::emulator::{Console, Process};
use crate::workspace::{Workspace, manifest_folder};
use crate::{artifacts, board, debian, run};

/// What gdb gets to know.
struct Session {
    script: PathBuf,
    log: PathBuf,
    socket: PathBuf,
}

/// Runs emulator and debugger.
pub(crate) fn debug(workspace: &Workspace, options: &DebugOptions) -> Result<()> {
    let board = board::find(&workspace.root.join("boards"), &options.board)?;
    let scratch = workspace.scratch()?;
    let mut machine = run::prepare(workspace, &board, &options.boot, &options.machine, scratch.path())?;
    machine.arguments.extend(["-s", "-S"].map(str::to_owned));
    let images = artifacts::build(workspace, &board)?;
    let extension = options.boot.extension.clone().unwrap_or_else(|| images.extension.clone());
    let session = Session::write(scratch.path(), &images, &std::path::absolute(extension)?)?;
    let mut command = machine.command(&Console::Socket(&session.socket, &session.log))?;
    // Ctrl-C in gdb is for gdb.
    command.process_group(0);
    let mut emulator = Process::captured(command, &scratch.path().join("messages"))?;
    session.run(&mut emulator)
}

impl Session {
    fn write(folder: &Path, images: &Images, extension: &Path) -> Result<Self> {
        let [script, log, socket] =
            ["debug.py", "console.log", "console.socket"].map(|name| folder.join(name));
        let body = fs::read_to_string(manifest_folder().join("data/debug.py"))
            .context("cannot read data/debug.py")?;
        let head = format!(
            "LOG = {log:?}\nIMAGES = {{\"kernel\": {:?}, \"extension\": {extension:?}}}\n",
            images.kernel
        );
        fs::write(&script, head + &body)?;
        fs::write(&log, "")?;
        Ok(Self { script, log, socket })
    }

    /// Becomes gdb, if there is one. The emulator ends with the process that started it, whatever that runs then.
    fn run(&self, emulator: &mut Process) -> Result<()> {
        let (log, socket) = (self.log.display(), self.socket.display());
        let source = format!("source {}", self.script.display());
        eprintln!(
            "console   {log}\nto type   socat -,rawer UNIX-CONNECT:{socket}\ndebugger  gdb -quiet -ex '{source}'"
        );
        if debian::has_program("gdb") {
            let error = Command::new("gdb").args(["-quiet", "-ex", &source]).exec();
            return Err(error).context("gdb did not start");
        }
        eprintln!(
            "gdb is not installed (apt-get install gdb); the machine waits on port 1234 for the debugger above"
        );
        let status = emulator.wait()?;
        if status.success() {
            Ok(())
        } else {
            bail!("the emulator ended with {status}; it said:\n{}", emulator.messages())
        }
    }
}
