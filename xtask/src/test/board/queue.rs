//! Runs the tests of all boards, several at a time: an emulator with one CPU keeps one of the host's busy, and many a
//! test waits most of the time.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow, bail};

use super::{Bench, debian, late};
use crate::artifacts::{self, Images};
use crate::board::Board;
use crate::cli::TestOptions;
use crate::emulator::NoNewerEmulator;
use crate::test::table::{self, Test};
use crate::workspace::Workspace;
use crate::{payload, setup};

/// The tests that run at the same time, unless the user says otherwise, at the most: each may take a GiB of memory.
const MOST: usize = 4;

/// A board that is ready to be tested.
struct Ready<'a> {
    board: &'a Board,
    images: Images,
}

/// One test of one board.
struct Job<'a> {
    ready: &'a Ready<'a>,
    test: &'static Test,
}

/// How the tests went.
#[derive(Default)]
struct Tally {
    passed: AtomicUsize,
    /// A line for each failed test: board, test, and the first line of the reason.
    failed: Mutex<Vec<String>>,
}

/// Runs the boards' tests that the options select, so many at a time.
pub(in crate::test) fn run(workspace: &Workspace, boards: &[Board], options: &TestOptions) -> Result<()> {
    let wanted = |board: &&Board| tests(board, options).next().is_some();
    let ready: Vec<_> = boards
        .iter()
        .filter(wanted)
        .filter_map(|board| kept(board, options.board.is_some(), prepare(workspace, board)))
        .collect::<Result<_>>()?;
    let mut queue: Vec<_> = ready
        .iter()
        .flat_map(|ready| tests(ready.board, options).map(move |test| Job { ready, test }))
        .collect();
    let jobs = options
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, |cpus| cpus.get().min(MOST)));
    if jobs > 1 {
        // The long ones first, so that no CPU of the host is idle in the end.
        queue.sort_by_key(|job| Reverse(job.test.timeout));
    }
    let (tally, next) = (Tally::default(), AtomicUsize::new(0));
    for job in &queue {
        late::prepare(workspace, job.ready.board, job.test)?;
        debian::prepare(workspace, job.test)?;
    }
    thread::scope(|scope| {
        let worker = || work(&queue, &next, &tally);
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow!("a worker panicked; its message is above")))
        })
    })?;
    tally.verdict()
}

/// The board's tests that the options select.
fn tests<'a>(board: &'a Board, options: &'a TestOptions) -> impl Iterator<Item = &'static Test> + 'a {
    let only = options.only.as_deref();
    table::of(board).filter(move |test| selected(test.name, only) && (options.full || !test.full))
}

/// Whether a test's name contains one of the texts of `only`, which commas separate.
fn selected(name: &str, only: Option<&str>) -> bool {
    only.is_none_or(|only| only.split(',').any(|text| name.contains(text)))
}

/// Leaves a board out whose emulator cannot be had on this machine, and says so, unless it was `named`.
fn kept<T>(board: &Board, named: bool, prepared: Result<T>) -> Option<Result<T>> {
    match prepared {
        Err(error) if !named && error.is::<NoNewerEmulator>() => {
            println!("left out: the tests of board {}: {error:#}", board.name);
            None
        }
        prepared => Some(prepared),
    }
}

/// Installs, downloads and builds all that the board's tests take.
fn prepare<'a>(workspace: &Workspace, board: &'a Board) -> Result<Ready<'a>> {
    setup::emulator(workspace, board)?;
    let images = artifacts::build(workspace, board)?;
    artifacts::build_tests(workspace, board)?;
    payload::default_kernel(workspace, board)?;
    Ok(Ready { board, images })
}

/// Takes tests from the queue until it is empty.
fn work(queue: &[Job<'_>], next: &AtomicUsize, tally: &Tally) -> Result<()> {
    let workspace = Workspace::open()?;
    let logs = workspace.output("logs")?;
    while let Some(job) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
        let Ready { board, images } = job.ready;
        let bench = Bench { workspace: &workspace, board, images, logs: logs.clone() };
        tally.count(job, &bench.report(job.test));
    }
    Ok(())
}

impl Tally {
    fn count(&self, job: &Job<'_>, result: &Result<()>) {
        match result {
            Ok(()) => {
                self.passed.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().next().unwrap_or_default();
                let line = format!("{:16} {:32} {reason}", job.ready.board.name, job.test.name);
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        }
    }

    /// The failed tests once more, so that a reader of the end alone knows them; the last line; and the exit status.
    fn verdict(self) -> Result<()> {
        let passed = self.passed.into_inner();
        let failed = self.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        for line in &failed {
            println!("FAILED {line}");
        }
        println!("{passed} passed, {} failed", failed.len());
        match (passed, failed.len()) {
            (0, 0) => bail!("no board test has that name; `cargo xtask test --list` shows them"),
            (_, 0) => Ok(()),
            (_, failed) => bail!("{failed} board tests failed"),
        }
    }
}
