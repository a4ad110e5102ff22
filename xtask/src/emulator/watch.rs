//! Watches an emulator until it did what was expected, ended, or took too long.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdout, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use regex::RegexSet;

use super::Process;
use super::console::Console;

/// How long a guest that printed a forbidden line may go on, so that the log tells more about it.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A day: for a wait without a limit.
const FOREVER: Duration = Duration::from_secs(86_400);

/// When watching is over, if nothing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// When every expected text was seen; the emulator is then ended.
    Seen,
    /// When the emulator ends by itself.
    Exit,
}

/// What to look for.
pub(crate) struct Watch<'a> {
    /// Texts that must come in this order.
    pub(crate) expected: &'a [String],
    /// Lines that must not come.
    pub(crate) forbidden: &'a RegexSet,
    /// When to stop.
    pub(crate) until: Until,
    /// How long it may take.
    pub(crate) timeout: Option<Duration>,
    /// Where everything is written.
    pub(crate) log: Option<&'a Path>,
    /// Whether to show everything.
    pub(crate) echo: bool,
}

/// Why watching stopped.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Every expected text was seen.
    Seen,
    /// The emulator ended.
    Exit(ExitStatus),
    /// It took too long.
    Timeout,
    /// A forbidden line came.
    Forbidden(String),
}

/// What was seen.
pub(crate) struct Watched {
    /// Why watching stopped.
    pub(crate) ended: Ended,
    /// The first expected text that did not come.
    pub(crate) missing: Option<String>,
    /// The console's lines.
    pub(crate) lines: Vec<String>,
}

/// Watches. The emulator is not running any more afterwards.
pub(crate) fn watch(process: &mut Process, watch: &Watch<'_>) -> Result<Watched> {
    let input = reader(process.output()?);
    let mut log = watch.log.map(create).transpose()?;
    let mut console = Console::new(watch.expected, watch.forbidden);
    let mut deadline = Instant::now() + watch.timeout.unwrap_or(FOREVER);
    let ended = loop {
        let bytes = match input.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Timeout) => break Ended::Timeout,
            Err(RecvTimeoutError::Disconnected) => break Ended::Exit(process.wait()?),
        };
        record(&bytes, log.as_mut(), watch.echo)?;
        console.feed(&bytes);
        if console.bad_line().is_some() {
            deadline = deadline.min(Instant::now() + LAST_WORDS);
        } else if watch.until == Until::Seen && console.missing().is_none() {
            break Ended::Seen;
        }
    };
    process.kill();
    Ok(conclude(ended, console))
}

/// A forbidden line is the reason, whatever came of it.
fn conclude(ended: Ended, mut console: Console<'_>) -> Watched {
    console.finish();
    let ended = console.bad_line().map_or(ended, |line| Ended::Forbidden(line.to_owned()));
    Watched { ended, missing: console.missing().map(str::to_owned), lines: console.into_lines() }
}

/// Reads in a thread of its own, so that waiting can have a limit. The thread ends with the output.
fn reader(mut output: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write the log {}", path.display()))
}

fn record(bytes: &[u8], log: Option<&mut File>, echo: bool) -> Result<()> {
    if let Some(log) = log {
        log.write_all(bytes).context("cannot write the log")?;
    }
    if echo {
        let mut output = std::io::stdout();
        output.write_all(bytes).and_then(|()| output.flush()).context("cannot write to standard output")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Watches a shell script as if it were an emulator.
    fn script(script: &str, expected: &[&str], until: Until) -> Watched {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut process = Process::captured(command, &scratch.path().join("messages")).unwrap();
        let expected: Vec<String> = expected.iter().map(|&text| text.to_owned()).collect();
        let forbidden = RegexSet::new(["^BUG:"]).unwrap();
        let timeout = Some(Duration::from_secs(1));
        let watch_for =
            Watch { expected: &expected, forbidden: &forbidden, until, timeout, log: None, echo: false };
        let watched = watch(&mut process, &watch_for).unwrap();
        assert!(process.poll().unwrap().is_some(), "it still runs");
        watched
    }

    #[test]
    fn seeing_the_text_ends_the_wait() {
        let watched = script("printf 'log'; printf 'in: '; exec sleep 60", &["login:"], Until::Seen);
        assert!(matches!(watched.ended, Ended::Seen));
        assert_eq!(watched.lines, ["login: "]);
    }

    #[test]
    fn an_end_without_the_text_names_what_is_missing() {
        let watched = script("echo one", &["one", "two"], Until::Seen);
        assert!(matches!(watched.ended, Ended::Exit(status) if status.success()));
        assert_eq!(watched.missing.as_deref(), Some("two"));
    }

    #[test]
    fn a_silent_guest_runs_into_the_limit() {
        assert!(matches!(script("exec sleep 60", &[], Until::Exit).ended, Ended::Timeout));
    }

    #[test]
    fn a_forbidden_line_is_the_reason_even_where_all_else_is_well() {
        let watched = script("echo one; printf 'BUG: two'", &["one"], Until::Exit);
        assert!(matches!(watched.ended, Ended::Forbidden(line) if line == "BUG: two"));
    }
}
