//! `cargo xtask bench`: instructions per exit, counted by the emulator.
//!
//! With QEMU's `-icount shift=0` the guest's clock advances by one nanosecond per instruction, so that the guest can
//! count them by reading its time-stamp counter, the same on every machine. Bochs' counter does so by itself. It takes
//! one CPU.

use std::time::Duration;

use anyhow::{Result, bail};
use regex::RegexSet;
use serde::Serialize;

use crate::board::{self, Board, Emulator};
use crate::cli::{BenchOptions, BootOptions};
use crate::emulator::{Console, Ended, Machine, Process, Until, Watch, Watched, watch};
use crate::progress::Step;
use crate::test::FORBIDDEN;
use crate::workspace::Workspace;
use crate::{artifacts, boot, setup};

/// The test guest that measures, by architecture, and the extension that answers it.
const fn guest(is_arm: bool) -> &'static str {
    if is_arm { "armv8-bench" } else { "bench" }
}
const EXTENSION: &str = "bench";
/// What the guest says at its end; a failed measurement is a line that must not be there.
const DONE: &str = "TEST bench done ";
const TIMEOUT: Duration = Duration::from_secs(300);
const COUNTING: [&str; 2] = ["-icount", "shift=0,sleep=off"];
/// An Arm processor whose counter advances with each nanosecond, so with each instruction.
const ARM_COUNTER: [&str; 2] = ["-cpu", "cortex-a72,cntfrq=1000000000"];

/// One figure.
#[derive(Debug, PartialEq, Serialize)]
struct Figure<'a> {
    board: &'a str,
    name: &'a str,
    instructions: u64,
}

/// Measures and prints.
pub(crate) fn bench(workspace: &Workspace, options: &BenchOptions) -> Result<()> {
    let boards = workspace.root.join("boards");
    let mut board = board::find(&boards, &options.board)?;
    if let Some(other) = &board.bench {
        eprintln!("{}: measured on {other}, whose firmware starts the bench guest", board.name);
        board = board::find(&boards, other)?;
    }
    let watched = measure(workspace, &board, &options.settings)?;
    let figures: Vec<_> = watched.lines.iter().filter_map(|line| figure(&board.name, line)).collect();
    if figures.is_empty() {
        bail!(
            "the bench guest printed no line \"BENCH name instructions\"; its console ended with:\n{}",
            tail(&watched)
        );
    }
    for figure in &figures {
        print(figure, options.json)?;
    }
    Ok(())
}

fn measure(workspace: &Workspace, board: &Board, settings: &[String]) -> Result<Watched> {
    setup::emulator(workspace, board)?;
    let images = artifacts::build(workspace, board)?;
    artifacts::build_tests(workspace, board)?;
    let is_arm = board.architecture() == "aarch64";
    let payload = Some(artifacts::test_guest(workspace, board, guest(is_arm))?);
    let extension = Some(artifacts::test_extension(workspace, board, EXTENSION)?);
    let settings = settings.to_vec();
    let options = BootOptions { payload, extension, settings, ..BootOptions::default() };
    let volume = boot::volume(workspace, board, &images, &options)?;
    let scratch = workspace.scratch()?;
    let mut machine = Machine::new(board, &volume, scratch.path())?;
    machine.cpus = 1;
    if matches!(board.emulator, Some(Emulator::Qemu(_))) {
        machine.arguments.extend(COUNTING.map(str::to_owned));
    }
    if is_arm {
        machine.arguments.extend(ARM_COUNTER.map(str::to_owned));
    }
    let step = Step::new("counting instructions");
    let mut process =
        Process::captured(machine.command(&Console::Output)?, &scratch.path().join("messages"))?;
    let forbidden = RegexSet::new(FORBIDDEN)?;
    let (expected, timeout) = ([DONE.to_owned()], Some(TIMEOUT));
    let for_figures = Watch {
        expected: &expected,
        forbidden: &forbidden,
        until: Until::Seen,
        timeout,
        log: None,
        echo: false,
    };
    let watched = watch(&mut process, &for_figures)?;
    step.done();
    check(watched, &process.messages())
}

fn check(watched: Watched, messages: &str) -> Result<Watched> {
    match &watched.ended {
        Ended::Timeout => bail!("the bench guest did not end; its console ended with:\n{}", tail(&watched)),
        Ended::Forbidden(line) => bail!("the console said {line:?}; it ended with:\n{}", tail(&watched)),
        Ended::Exit(_) if watched.lines.is_empty() => bail!("the emulator did not start: {messages}"),
        Ended::Exit(status) if watched.missing.is_some() => {
            bail!("the bench guest failed ({status}); its console ended with:\n{}", tail(&watched))
        }
        Ended::Exit(_) | Ended::Seen => Ok(watched),
    }
}

fn tail(watched: &Watched) -> String {
    watched.lines[watched.lines.len().saturating_sub(20)..].join("\n")
}

/// `BENCH name instructions`.
fn figure<'a>(board: &'a str, line: &'a str) -> Option<Figure<'a>> {
    let mut words = line.trim().strip_prefix("BENCH ")?.split_whitespace();
    let (name, instructions) = (words.next()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(Figure { board, name, instructions })
}

fn print(figure: &Figure<'_>, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(figure)?);
    } else {
        println!("{:16} {:48} {:>10}", figure.board, figure.name, figure.instructions);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_figure_counts() {
        let expected = Figure { board: "b", name: "cpuid-extension", instructions: 398 };
        assert_eq!(figure("b", "BENCH cpuid-extension 398\r"), Some(expected));
        for line in ["BENCH cpuid", "BENCH cpuid many", "BENCHMARK cpuid 1", "BENCH cpuid 1 2"] {
            assert_eq!(figure("b", line), None, "{line}");
        }
    }
}
