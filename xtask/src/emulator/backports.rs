//! A newer emulator than the installed one, for a board whose machine that lacks: from the release's backports.
//!
//! It is unpacked into the cache, not installed. The other boards keep the emulator that their figures are from.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::board::Qemu;
use crate::debian::{self, Apt};
use crate::workspace::cache;

/// Where the emulator that has the board's machine is unpacked; `None` where the installed one has it.
pub(super) fn folder(shell: &Shell, qemu: &Qemu) -> Result<Option<PathBuf>> {
    if qemu.backports.is_empty() || has_machine(shell, &qemu.program, &qemu.machine)? {
        return Ok(None);
    }
    Ok(Some(cache()?.join(format!("{}-backports", qemu.package))))
}

/// The newer emulator cannot be had on this machine: what an error of [`fetch`] is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoNewerEmulator;

impl fmt::Display for NoNewerEmulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the emulator that the board needs is newer than the installed one, and cannot be fetched",
        )
    }
}

/// Fetches it, unless it is there or not needed.
///
/// # Errors
/// Its context is [`NoNewerEmulator`].
pub(crate) fn fetch(shell: &Shell, qemu: &Qemu) -> Result<()> {
    match folder(shell, qemu)? {
        Some(folder) if !folder.is_dir() => unpack(shell, qemu, &folder).context(NoNewerEmulator),
        _ => Ok(()),
    }
}

fn unpack(shell: &Shell, qemu: &Qemu, folder: &Path) -> Result<()> {
    let (program, machine, cache) = (&qemu.program, &qemu.machine, cache()?);
    let Some(apt) = Apt::backports(shell, &cache)? else {
        bail!(
            "{program} has no machine {machine} and there are no backports to take a newer one from; install one that has it"
        );
    };
    let packages: Vec<_> = qemu.backports.iter().map(String::as_str).collect();
    apt.know(&packages)?;
    let scratch = tempfile::tempdir_in(&cache).context("cannot write to the cache")?;
    let complete = scratch.path().join("complete");
    for package in packages {
        debian::unpack(shell, &apt.download(package, scratch.path())?, &complete)?;
    }
    let newer = program_in(&complete, qemu);
    if !has_machine(shell, &newer.to_string_lossy(), machine)? {
        bail!("{program} of the backports has no machine {machine} either; correct the board's manifest");
    }
    fs::rename(&complete, folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// The program in its folder.
pub(super) fn program_in(folder: &Path, qemu: &Qemu) -> PathBuf {
    folder.join("usr/bin").join(&qemu.program)
}

/// What it reads at run time, in its folder.
pub(super) fn data_in(folder: &Path) -> PathBuf {
    folder.join("usr/share/qemu")
}

fn has_machine(shell: &Shell, program: &str, machine: &str) -> Result<bool> {
    let machines = cmd!(shell, "{program} -machine help").quiet().read()?;
    // Its options follow.
    let machine = machine.split(',').next();
    Ok(machines.lines().any(|line| line.split_whitespace().next() == machine))
}
