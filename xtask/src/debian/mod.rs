//! Debian's package manager: what is installed from it, and what is only downloaded.
//!
//! Root may install. Anybody else gets the exact command to hand to somebody who may.

mod apt;
mod root;
mod system;

pub(crate) use apt::{Apt, native_architecture};
pub(crate) use root::{Root, as_root};
pub(crate) use system::System;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::progress::Step;

/// Waits for another package manager instead of failing, in seconds.
const LOCK: &str = "DPkg::Lock::Timeout=300";

/// Whether `program` is on the search path.
pub(crate) fn has_program(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Installs what is missing of these programs, each with its package, or says how.
pub(crate) fn need(shell: &Shell, programs: &[(&str, &str)]) -> Result<()> {
    let missing = programs.iter().filter(|(program, _)| !has_program(program));
    let packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() { Ok(()) } else { install(shell, &packages) }
}

/// Installs packages, or says how.
pub(crate) fn install(shell: &Shell, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !has_program("apt-get") {
        bail!("this needs what Debian packages as: {list}. Install it with your system's package manager");
    }
    if !is_root() {
        let command = format!("apt-get install --yes --no-install-recommends {list}");
        bail!("{list} must be installed, and only root may; run:\n  sudo apt-get update && sudo {command}");
    }
    Apt::native(shell).know(packages)?;
    let step = Step::new(format!("installing {list}"));
    let command = cmd!(shell, "apt-get install --yes --no-install-recommends -o {LOCK} {packages...}");
    quietly(command.env("DEBIAN_FRONTEND", "noninteractive"))?;
    step.done();
    Ok(())
}

/// Unpacks a `.deb` into `folder`.
pub(crate) fn unpack(shell: &Shell, package: &Path, folder: &Path) -> Result<()> {
    quietly(cmd!(shell, "dpkg-deb -x {package} {folder}"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Runs a command that is only worth reading when it fails.
pub(crate) fn quietly(command: xshell::Cmd<'_>) -> Result<()> {
    let text = command.to_string();
    let output = command.quiet().ignore_status().output().with_context(|| format!("cannot run {text}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    bail!("`{text}` failed ({}):\n{stdout}{stderr}", output.status)
}
