//! An emulator's process, which does not outlive its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

/// QEMU says this many times for every CPU model that it emulates in part, and all of them are.
const NOISE: &str = "warning: TCG doesn't support requested feature";

/// A running emulator. It is killed, by its number alone, when this is dropped.
pub(crate) struct Process {
    child: Child,
    messages: PathBuf,
}

impl Process {
    /// Starts it on the user's terminal, its own messages in the file `messages`.
    pub(crate) fn interactive(mut command: Command, messages: &Path) -> Result<Self> {
        command.stderr(create(messages)?);
        Ok(Self { child: spawn(&mut command)?, messages: messages.to_owned() })
    }

    /// Starts it without input, its output for [`Process::output`], its own messages in the file `messages`.
    pub(crate) fn captured(mut command: Command, messages: &Path) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(create(messages)?);
        Ok(Self { child: spawn(&mut command)?, messages: messages.to_owned() })
    }

    /// What it writes; once.
    pub(crate) fn output(&mut self) -> Result<ChildStdout> {
        self.child.stdout.take().context("the emulator's output is not captured")
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().context("cannot wait for the emulator")
    }

    /// Whether it ended, without waiting.
    #[cfg(test)]
    pub(crate) fn poll(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot ask for the emulator's state")
    }

    /// Ends it.
    pub(crate) fn kill(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What the emulator itself had to say, such as why it did not start.
    pub(crate) fn messages(&self) -> String {
        let text = std::fs::read_to_string(&self.messages).unwrap_or_default();
        let lines: Vec<_> = text.lines().filter(|line| !line.contains(NOISE)).collect();
        lines.join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

fn spawn(command: &mut Command) -> Result<Child> {
    let program = command.get_program().to_owned();
    command.spawn().with_context(|| format!("cannot start {}; try `cargo xtask setup`", program.display()))
}
