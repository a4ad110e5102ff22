//! Runs the board tests: boots each one, watches its console, tells how it went.

mod debian;
mod faults;
mod late;
mod modules;
mod queue;
mod verdict;

pub(super) use queue::run;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use regex::{RegexSet, bytes};
use tempfile::NamedTempFile;

use super::table::{End, Payload, Test};
use crate::artifacts::{self, Images};
use crate::board::{Board, Emulator};
use crate::boot;
use crate::cli::BootOptions;
use crate::emulator::{Console, Ended, Machine, Process, Until, Watch, Watched, watch};
use crate::volume::{Format, Part, Volume};
use crate::workspace::Workspace;

/// How many lines of a failed test's console are shown.
const TAIL: usize = 40;

/// What the tests of one board share.
pub(super) struct Bench<'a> {
    workspace: &'a Workspace,
    board: &'a Board,
    images: &'a Images,
    /// Where the consoles' logs go.
    logs: PathBuf,
}

/// What came of a boot.
pub(super) struct Booted {
    /// What came over the console.
    pub(super) watched: Watched,
    /// What the emulator recorded about its end.
    trace: String,
    /// Whether the machine's memory holds what it must.
    remembers: bool,
    /// What the emulator said itself.
    messages: String,
    /// What it recorded that may explain a failure.
    complaints: Vec<String>,
}

impl Booted {
    /// Whether the emulator ended before anything came over the console.
    fn did_not_start(&self) -> bool {
        matches!(self.watched.ended, Ended::Exit(_)) && self.watched.lines.iter().all(String::is_empty)
    }

    /// The end of the console, and what the emulator said, for somebody who looks for a reason.
    fn ending(&self) -> String {
        let lines = &self.watched.lines;
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n  ");
        let messages = if self.messages.is_empty() { "nothing" } else { &self.messages };
        let complaints = self.complaints.iter().map(|line| format!("the emulator recorded: {line}\n"));
        format!(
            "{}the emulator said: {messages}\nthe console ended with\n  {tail}",
            complaints.collect::<String>()
        )
    }
}

impl Bench<'_> {
    /// The checkout.
    pub(super) const fn workspace(&self) -> &Workspace {
        self.workspace
    }

    /// Runs one test and prints its line, with all that explains a failure.
    fn report(&self, test: &Test) -> Result<()> {
        let start = Instant::now();
        let result = self.run(test);
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        let reason = match &result {
            Ok(()) => String::new(),
            Err(error) => format!("\n  {}", format!("{error:#}").replace('\n', "\n  ")),
        };
        let (board, seconds) = (&self.board.name, start.elapsed().as_secs_f64());
        // One call, so that the lines of another test do not come between.
        println!("{board:16} {:32} {verdict:6} {seconds:6.1} s{reason}", test.name);
        result
    }

    fn run(&self, test: &Test) -> Result<()> {
        let log = self.log(test.name);
        let booted = self.boot(test, &log)?;
        let remembers = booted.remembers.then_some(()).context("its memory does not hold what it must");
        let judged = verdict::judge(test, &booted.watched, self.records_shutdown().then_some(&booted.trace));
        let checked = judged
            .and(remembers)
            .and_then(|()| test.check.map_or(Ok(()), |check| check(self, test, &booted.watched)));
        checked.map_err(|error| {
            anyhow!("{error:#}\n{}\nall of the console is in {}", booted.ending(), log.display())
        })
    }

    /// Boots a test, its console in `log` too.
    ///
    /// An emulator that ends before its machine has said a word did not start: two of them can come into each other's way
    /// there. It gets a second try, and the reader is told.
    pub(super) fn boot(&self, test: &Test, log: &Path) -> Result<Booted> {
        let booted = self.try_to_boot(test, log)?;
        if !booted.did_not_start() {
            return Ok(booted);
        }
        println!("{:16} {:32} is started again: {}", self.board.name, test.name, booted.ending());
        self.try_to_boot(test, log)
    }

    fn try_to_boot(&self, test: &Test, log: &Path) -> Result<Booted> {
        let scratch = self.workspace.scratch()?;
        let mut volume = self.volume(test)?;
        let modules = if test.modules { modules::take(&mut volume, scratch.path())? } else { Vec::new() };
        let mut machine = Machine::new(self.board, &volume, scratch.path())?;
        (machine.cpus, machine.memory) = (test.cpus, test.memory);
        (machine.bare, machine.model) = (test.bare, test.model);
        machine.memory_file = test.in_memory.map(|_| scratch.path().join("memory"));
        machine.arguments.extend(test.arguments.iter().map(|&argument| argument.to_owned()));
        machine.arguments.extend(modules);
        machine.arguments.extend(debian::arguments(self.workspace, test)?);
        let mut process =
            Process::captured(machine.command(&Console::Output)?, &scratch.path().join("messages"))?;
        let expected: Vec<String> = test.expect.iter().map(|&text| text.to_owned()).collect();
        let watched = watch(
            &mut process,
            &Watch {
                expected: &expected,
                forbidden: &forbidden(test)?,
                until: if test.end == End::Seen { Until::Seen } else { Until::Exit },
                timeout: Some(Duration::from_secs(test.timeout)),
                log: Some(log),
                echo: false,
            },
        )?;
        let trace = machine.record();
        let remembers = match (test.in_memory, &machine.memory_file) {
            (Some(pattern), Some(file)) => bytes::Regex::new(pattern)?.is_match(&crate::payload::read(file)?),
            _ => true,
        };
        Ok(Booted {
            watched,
            trace,
            remembers,
            messages: process.messages(),
            complaints: machine.complaints(),
        })
    }

    /// Whether the emulator records how its machine ended.
    fn records_shutdown(&self) -> bool {
        matches!(self.board.emulator, Some(Emulator::Qemu(_)))
    }

    /// Where the console of a boot called `name` is logged.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{}-{name}.log", self.board.name))
    }

    fn volume(&self, test: &Test) -> Result<Volume> {
        let (workspace, board) = (self.workspace, self.board);
        let payload = match test.payload {
            Payload::Default => None,
            Payload::Guest(name) => Some(artifacts::test_guest(workspace, board, name)?),
        };
        let extension = test.extension.map(|name| self.extension(test, name)).transpose()?;
        let cmdline = (!test.command_line.is_empty()).then(|| test.command_line.to_owned());
        let settings = test.settings.iter().map(|&line| line.to_owned()).collect();
        let own_tree = test.own_tree.then(|| self.emulators_tree(test)).transpose()?;
        let device_tree = own_tree.as_ref().map(|file| file.path().to_owned());
        let options = BootOptions {
            payload,
            extension,
            cmdline,
            settings,
            device_tree,
            bare: test.bare,
            emulated: true,
            ..BootOptions::default()
        };
        let scratch = workspace.scratch()?;
        let options = match test.late {
            Some(late) => late::options(self, test, late, scratch.path(), options)?,
            None if test.debian => debian::options(workspace, options)?,
            None => options,
        };
        let mut images = self.images.clone();
        if let Some(name) = test.kernel {
            images.kernel = artifacts::test_kernel(workspace, board, name)?;
        }
        if let Some(name) = test.loader {
            images.loader = artifacts::test_guest(workspace, board, name)?;
        }
        let mut volume = boot::volume(workspace, board, &images, &options)?;
        if let Some(word) = test.before {
            let guest = artifacts::test_guest(workspace, board, "before")?;
            faults::put_before(&mut volume, crate::payload::read(&guest)?, word)?;
        }
        for fault in test.faults {
            faults::apply(&mut volume, fault)?;
        }
        Ok(volume)
    }
}

impl Bench<'_> {
    /// The file of a test's extension.
    fn extension(&self, test: &Test, name: &str) -> Result<PathBuf> {
        match test.released {
            Some(version) => artifacts::released_extension(self.workspace, self.board, version, name),
            None => artifacts::test_extension(self.workspace, self.board, name),
        }
    }

    /// The device tree that QEMU makes for a test's machine.
    fn emulators_tree(&self, test: &Test) -> Result<NamedTempFile> {
        let scratch = self.workspace.scratch()?;
        let file = NamedTempFile::new()?;
        let mut volume = Volume::new(Format::Linux);
        volume.add(Part::Payload.name(), Vec::new())?;
        let mut machine = Machine::new(self.board, &volume, scratch.path())?;
        (machine.cpus, machine.memory) = (test.cpus, test.memory);
        machine.arguments.extend(test.arguments.iter().map(|&argument| argument.to_owned()));
        machine.arguments.extend(["-machine".to_owned(), format!("dumpdtb={}", file.path().display())]);
        let messages = scratch.path().join("messages");
        let mut process = Process::captured(machine.command(&Console::Output)?, &messages)?;
        process.wait()?;
        Ok(file)
    }
}

/// What no line of the test may match.
fn forbidden(test: &Test) -> Result<RegexSet> {
    let common = super::FORBIDDEN.iter().filter(|pattern| !test.allow.contains(pattern));
    Ok(RegexSet::new(common.chain(test.forbid))?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::ExitStatus;

    use super::*;
    use crate::test::table;

    #[test]
    fn silence_is_no_start_and_a_timeout_is_no_silence() {
        let ended = |ended, lines: &[&str]| Booted {
            watched: Watched {
                ended,
                missing: None,
                lines: lines.iter().map(|&line| line.to_owned()).collect(),
            },
            trace: String::new(),
            remembers: true,
            messages: String::new(),
            complaints: Vec::new(),
        };
        assert!(ended(Ended::Exit(ExitStatus::default()), &[""]).did_not_start());
        assert!(!ended(Ended::Exit(ExitStatus::default()), &["GRUB"]).did_not_start());
        assert!(!ended(Ended::Timeout, &[]).did_not_start());
    }

    #[test]
    fn every_test_is_for_boards_that_there_are() {
        let boards = crate::board::all(&crate::workspace::manifest_folder().join("../boards")).unwrap();
        let emulated = |name: &str| boards.iter().any(|board| board.name == name && board.emulator.is_some());
        assert!(
            table::all().all(|test| !test.boards.is_empty() && test.boards.iter().all(|name| emulated(name)))
        );
    }

    #[test]
    fn every_test_has_a_name_of_its_own_and_something_to_expect() {
        let named = || table::all().flat_map(|test| test.boards.iter().map(|board| (*board, test.name)));
        assert_eq!(named().collect::<BTreeSet<_>>().len(), named().count());
        assert!(table::all().all(|test| !test.expect.is_empty() && !test.proves.is_empty()));
        let apart = |proves: &str| {
            !["the same", "as ", "it ", "one with", "under it"].iter().any(|it| proves.starts_with(it))
        };
        assert!(
            table::all().all(|test| apart(test.proves)),
            "`--list` shows what a test proves without its neighbours"
        );
        assert!(table::all().all(|test| forbidden(test).is_ok()));
    }
}
