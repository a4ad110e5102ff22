//! `cargo xtask debug`: a board's emulator under gdb, with symbols where the kernel was really loaded.
//!
//! The loader chooses the kernel's address anew at each boot, and the kernel logs it. A small script inside gdb waits
//! for that line, loads the symbols there and stops; after that gdb is the user's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

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
    let console = Console::Socket(&session.socket, &session.log);
    let mut emulator = Process::captured(machine.command(&console), &scratch.path().join("messages"))?;
    let result = session.run(&mut emulator);
    let messages = emulator.messages();
    if messages.is_empty() {
        result
    } else {
        result.with_context(|| format!("the emulator said:\n{messages}"))
    }
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

    fn run(&self, emulator: &mut Process) -> Result<()> {
        eprintln!(
            "console  {} (to type there: socat -,rawer UNIX-CONNECT:{})",
            self.log.display(),
            self.socket.display()
        );
        let command = format!("gdb -quiet -ex 'source {}'", self.script.display());
        if !debian::has_program("gdb") {
            eprintln!(
                "gdb is not installed: apt-get install gdb. The machine waits on port 1234; in another terminal:\n  {command}"
            );
            emulator.wait()?;
            return Ok(());
        }
        eprintln!("debugger {command}");
        let mut gdb = std::process::Command::new("gdb");
        gdb.args(["-quiet", "-ex"]).arg(format!("source {}", self.script.display()));
        gdb.status().context("gdb did not start")?;
        Ok(())
    }
}
