//! `cargo xtask bench`: instructions per exit, counted by the emulator.
//!
//! With `-icount shift=0` the guest's clock advances by one nanosecond per instruction, so that the guest can
//! count them by reading its time-stamp counter, the same on every machine. It takes one CPU.

use std::time::Duration;

use anyhow::{Result, bail};
use regex::RegexSet;
use serde::Serialize;

use crate::board::{self, Board};
use crate::cli::{BenchOptions, BootOptions};
use crate::emulator::{Console, Ended, Machine, Process, Until, Watch, Watched, exit_device_status, watch};
use crate::progress::Step;
use crate::test::{FORBIDDEN, GUEST_PASSED};
use crate::workspace::Workspace;
use crate::{artifacts, boot, setup};

/// The test guest that measures, and the extension that answers it.
const GUEST: &str = "bench";
const EXTENSION: &str = "bench";
const TIMEOUT: Duration = Duration::from_secs(300);
const COUNTING: [&str; 2] = ["-icount", "shift=0,sleep=off"];

/// One figure.
#[derive(Debug, PartialEq, Serialize)]
struct Figure<'a> {
    board: &'a str,
    name: &'a str,
    instructions: u64,
}

/// Measures and prints.
pub(crate) fn bench(workspace: &Workspace, options: &BenchOptions) -> Result<()> {
    let board = board::find(&workspace.root.join("boards"), &options.board)?;
    let watched = measure(workspace, &board)?;
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

fn measure(workspace: &Workspace, board: &Board) -> Result<Watched> {
    setup::emulator(workspace, board)?;
    let images = artifacts::build(workspace, board)?;
    artifacts::build_tests(workspace, board)?;
    let payload = Some(artifacts::test_guest(workspace, board, GUEST)?);
    let extension = Some(artifacts::test_extension(workspace, board, EXTENSION)?);
    let options = BootOptions { payload, extension, ..BootOptions::default() };
    let volume = boot::volume(workspace, board, &images, &options)?;
    let scratch = workspace.scratch()?;
    let mut machine = Machine::new(board, &volume, scratch.path())?;
    machine.cpus = 1;
    machine.arguments.extend(COUNTING.map(str::to_owned));
    let step = Step::new("counting instructions");
    let mut process =
        Process::captured(machine.command(&Console::Output)?, &scratch.path().join("messages"))?;
    let forbidden = RegexSet::new(FORBIDDEN)?;
    let (expected, timeout) = ([], Some(TIMEOUT));
    let for_figures = Watch {
        expected: &expected,
        forbidden: &forbidden,
        until: Until::Exit,
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
        Ended::Exit(status) if status.code() != Some(exit_device_status(GUEST_PASSED)) => {
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
