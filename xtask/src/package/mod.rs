//! `cargo xtask package`: what a person installs. A Debian package with the Linux module (DKMS), `vmmctl`, the kernel and the
//! extensions; a tarball with all that an extension is built from, without a checkout; and the list of what went in.
//!
//! The same commit gives the same bytes: paths are left out of programs, files have the commit's time, and archives
//! have one order and one owner.

mod deb;
mod materials;
mod programs;
mod sdk;
mod tree;
mod verify;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::cli::PackageOptions;
use crate::debian;
use crate::progress::Step;
use crate::workspace::Workspace;

/// The kinds of machine that packages are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Machine {
    /// AMD and Intel.
    Amd64,
    /// Armv8.
    Arm64,
}

impl Machine {
    /// Debian's name.
    const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The target of kernel and extensions, and the kernel's package.
    const fn freestanding(self) -> (&'static str, &'static str) {
        match self {
            Self::Amd64 => ("x86_64-unknown-none", "plinth-image-x86"),
            Self::Arm64 => ("aarch64-unknown-none-softfloat", "plinth-image-armv8"),
        }
    }

    /// Rust's name.
    const fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }
}

/// What a package is made from.
pub(crate) struct Source<'a> {
    workspace: &'a Workspace,
    machine: Machine,
    /// Plinth's version.
    version: String,
    /// The commit's time, in seconds since 1970: every file's.
    time: u64,
}

impl<'a> Source<'a> {
    fn new(workspace: &'a Workspace, machine: Machine) -> Result<Self> {
        let version =
            workspace.package("vmmctl").context("the workspace has no package vmmctl")?.version.to_string();
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text.parse().context("SOURCE_DATE_EPOCH is no number of seconds")?,
            Err(_) => {
                let time = cmd!(workspace.shell, "git log -1 --format=%ct").quiet().read();
                time.context("cannot tell the commit's time; set SOURCE_DATE_EPOCH")?.parse()?
            }
        };
        Ok(Self { workspace, machine, version, time })
    }
}

/// Makes everything for the machines that are named.
pub(crate) fn command(workspace: &Workspace, options: &PackageOptions) -> Result<()> {
    let machines = match options.machine {
        Some(machine) => vec![machine],
        None => vec![Machine::Amd64, Machine::Arm64],
    };
    let folder = workspace.output("package")?;
    let mut made = Vec::new();
    for machine in machines {
        made.push(debian(workspace, machine)?);
    }
    let source = Source::new(workspace, Machine::Amd64)?;
    made.push(sdk::make(&source, &folder)?);
    made.push(materials::make(&source, &folder)?);
    for path in &made {
        println!("{}  {}", hash(workspace, path)?, workspace.relative(path).display());
    }
    if options.verify { verify::verify(workspace, options.machine, &made) } else { Ok(()) }
}

/// Makes the Debian package for a machine, and returns its file.
pub(crate) fn debian(workspace: &Workspace, machine: Machine) -> Result<PathBuf> {
    let source = Source::new(workspace, machine)?;
    let folder = workspace.output("package")?;
    let programs = programs::build(&source)?;
    let step = Step::new(format!("packing for {}", machine.debian()));
    let scratch = workspace.scratch()?;
    tree::lay_out(&source, &programs, scratch.path())?;
    let package = deb::pack(&source, scratch.path(), &folder)?;
    step.done();
    Ok(package)
}

/// Makes the SDK, and returns its file.
#[cfg(test)]
pub(crate) fn sdk(workspace: &Workspace) -> Result<PathBuf> {
    sdk::make(&Source::new(workspace, Machine::Amd64)?, &workspace.output("package")?)
}

fn hash(workspace: &Workspace, path: &Path) -> Result<String> {
    let text = cmd!(workspace.shell, "sha256sum {path}").quiet().read()?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Packs a folder with one order, one owner and one time for all files. `name` is the folder inside `parent`.
fn tar(source: &Source<'_>, parent: &Path, name: &str, archive: &Path) -> Result<()> {
    let time = format!("@{}", source.time);
    let shell = &source.workspace.shell;
    // Tar runs xz, which is not on every Debian.
    debian::need(shell, &[("xz", "xz-utils")])?;
    let tar = cmd!(
        shell,
        "tar --create --xz --file {archive} --directory {parent} --sort=name --mtime={time} --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=gnu {name}"
    );
    tar.quiet().run().with_context(|| format!("cannot pack {}", archive.display()))
}
