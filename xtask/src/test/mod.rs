//! `cargo xtask test`: everything that must hold before a change is good.

mod board;
mod conformance;
#[cfg(test)]
mod dependencies;
mod dmesg;
#[cfg(test)]
mod documents;
mod host;
mod matrix;
mod missing_cases;
mod table;
mod vmmctl;

use anyhow::{Result, bail};

use crate::cli::{PackageOptions, TestOptions};
use crate::deny::deny_if_installed;
use crate::miri::miri_if_installed;
use crate::workspace::Workspace;
use crate::{package, setup};

/// Console lines that are a failure in any test and in any measurement.
pub(crate) const FORBIDDEN: &[&str] = &[
    r"panicked at",
    KERNEL_PANIC,
    LINUX_PANIC,
    r"\bBUG: ",
    CALL_TRACE,
    r"Oops: ",
    r"!!!! X64 Exception Type",
    r"^TEST .*\bFAILED",
    r"detected stalls on",
    r"soft lockup",
];

/// What Linux says when it gives up.
pub(crate) const LINUX_PANIC: &str = r"Kernel panic";

/// What Linux prints of a stack.
pub(crate) const CALL_TRACE: &str = r"Call Trace:";

/// What the kernel says before a processor of its stops.
pub(crate) const KERNEL_PANIC: &str = r"the kernel panicked";

/// What a guest of `tests/guests` writes to the exit device when all its checks passed.
pub(crate) const GUEST_PASSED: u8 = 0x10;

/// Runs the parts that the options name.
pub(crate) fn test(workspace: &Workspace, options: &TestOptions) -> Result<()> {
    if options.list {
        return list();
    }
    if options.matrix {
        matrix::print();
        return Ok(());
    }
    let boards = setup::selected(workspace, options.board.as_deref())?;
    if let Some(name) = &options.board
        && boards.iter().all(|board| board.emulator.is_none())
    {
        bail!("board {name} has no emulator, so it has no tests of its own; see `cargo xtask boards`");
    }
    if options.board.is_none() && options.only.is_none() {
        host::run(workspace, options.full)?;
        if options.full {
            package::command(workspace, &PackageOptions { machine: None, verify: true })?;
        }
        if !options.fast {
            miri_if_installed(workspace)?;
            deny_if_installed(workspace)?;
        }
    }
    if options.fast {
        return Ok(());
    }
    board::run(workspace, &boards, options)
}

fn list() -> Result<()> {
    for test in table::all() {
        println!("{:24} {:32} {}", test.boards.join(","), test.name, test.proves);
    }
    Ok(())
}
