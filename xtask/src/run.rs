//! `cargo xtask run`: a board's emulator on the user's terminal, or watched for a script.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use regex::RegexSet;

use crate::board::{self, Board};
use crate::cli::{BootOptions, MachineOptions, RunOptions};
use crate::emulator::{Console, Ended, Machine, Process, Until, Watch, Watched, watch};
use crate::workspace::Workspace;
use crate::{artifacts, boot, setup};

/// Runs it.
pub(crate) fn run(workspace: &Workspace, options: &RunOptions) -> Result<()> {
    let board = board::find(&workspace.root.join("boards"), &options.board)?;
    let scratch = workspace.scratch()?;
    let machine = prepare(workspace, &board, &options.boot, &options.machine, scratch.path())?;
    let messages = scratch.path().join("messages");
    if options.expect.is_none() && options.timeout.is_none() {
        return interactive(&machine, options, &messages);
    }
    let mut process = Process::captured(machine.command(&Console::Output)?, &messages)?;
    let expected: Vec<String> = options.expect.iter().cloned().collect();
    let watched = watch(
        &mut process,
        &Watch {
            expected: &expected,
            forbidden: &RegexSet::empty(),
            until: if expected.is_empty() { Until::Exit } else { Until::Seen },
            timeout: options.timeout.map(Duration::from_secs),
            log: options.log.as_deref(),
            echo: true,
        },
    )?;
    verdict(&machine, &watched, options.timeout, &process.messages())
}

/// Installs, builds and puts together what it takes to run a board.
pub(crate) fn prepare<'a>(
    workspace: &Workspace,
    board: &'a Board,
    boot: &BootOptions,
    options: &MachineOptions,
    folder: &Path,
) -> Result<Machine<'a>> {
    let emulator = board.emulator()?;
    setup::emulator(workspace, board)?;
    let images = artifacts::build(workspace, board)?;
    let boot = BootOptions { emulated: true, ..boot.clone() };
    let volume = boot::volume(workspace, board, &images, &boot)?;
    let mut machine = Machine::new(board, &volume, folder)?;
    machine.cpus = options.cpus.unwrap_or(emulator.cpus());
    machine.memory = options.memory.unwrap_or(emulator.memory());
    machine.bare = boot.bare;
    machine.arguments.clone_from(&options.arguments);
    Ok(machine)
}

fn interactive(machine: &Machine<'_>, options: &RunOptions, messages: &Path) -> Result<()> {
    eprintln!("{}", machine.how_to_leave());
    let log = options.log.as_deref().map(std::path::absolute).transpose()?;
    let mut process = Process::interactive(machine.command(&Console::Terminal(log.as_deref()))?, messages)?;
    let status = process.wait()?;
    if machine.failed(status) {
        bail!("the emulator ended with {status}; it said:\n{}", process.messages());
    }
    Ok(())
}

fn verdict(machine: &Machine<'_>, watched: &Watched, timeout: Option<u64>, messages: &str) -> Result<()> {
    let missing = watched.missing.as_ref().map(|text| format!(" and {text:?} was not on the console"));
    let missing = missing.unwrap_or_default();
    match &watched.ended {
        Ended::Seen => Ok(()),
        Ended::Exit(status) if missing.is_empty() && !machine.failed(*status) => Ok(()),
        Ended::Exit(status) if messages.is_empty() => bail!("the emulator ended with {status}{missing}"),
        Ended::Exit(status) => bail!("the emulator ended with {status}{missing}; it said:\n{messages}"),
        Ended::Timeout => bail!("{} seconds passed{missing}", timeout.unwrap_or_default()),
        Ended::Forbidden(line) => bail!("the guest said {line:?}"),
    }
}
