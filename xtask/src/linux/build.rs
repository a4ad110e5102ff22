//! Builds `loaders/linux` for a Linux version, by the kernel's own build system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use super::Linux;
use crate::debian;
use crate::progress::Step;
use crate::workspace::Workspace;

/// The compiler, of the version that Debian's makefiles name.
const COMPILER: &str = "gcc-12";

/// What the tool that checks the object files is linked with.
const LIBELF: (&str, &str) = ("/usr/lib/x86_64-linux-gnu/libelf.so.1", "libelf1");

/// What the kernel's build system only warns of, and is wrong for all that.
const COMPLAINTS: &[&str] = &["warning: objtool", "WARNING: modpost", "ERROR: modpost"];

/// Builds the module, and returns its file.
pub(crate) fn module(workspace: &Workspace, linux: &Linux) -> Result<PathBuf> {
    let shell = &workspace.shell;
    let prefix = cross_prefix(linux);
    setup(workspace, &prefix)?;
    let headers = linux.fetch(shell)?.headers(linux)?;
    let folder = workspace.output(&format!("linux-module/{}-{}", linux.name, linux.architecture))?;
    copy_sources(&workspace.root.join("loaders/linux"), &folder)?;
    let step = Step::new(format!("building the module for Linux {}", linux.name));
    let machine = if linux.architecture == "amd64" { "x86" } else { linux.architecture };
    let arguments = [
        format!("M={}", folder.display()),
        format!("ARCH={machine}"),
        format!("CROSS_COMPILE={prefix}"),
        format!("CC={prefix}{COMPILER}"),
        "KCFLAGS=-Werror".to_owned(),
        // Types for BPF would take another tool, and nobody reads them.
        "CONFIG_DEBUG_INFO_BTF_MODULES=".to_owned(),
        "modules".to_owned(),
    ];
    let make = cmd!(shell, "make -C {headers} {arguments...}").quiet().ignore_status();
    let output = make.output().context("cannot run make")?;
    find_complaint(&output, &format!("Linux {} ({})", linux.name, linux.architecture))?;
    step.done();
    Ok(folder.join("plinth.ko"))
}

/// Fails if a build did, or has said what is as good as a failure.
pub(super) fn find_complaint(output: &Output, version: &str) -> Result<()> {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() || COMPLAINTS.iter().any(|complaint| text.contains(complaint)) {
        bail!("loaders/linux does not build for {version}:\n{text}");
    }
    Ok(())
}

/// Copies an ELF file without its symbols, by the binutils that come with the module's compiler.
pub(crate) fn strip(shell: &Shell, linux: &Linux, from: &Path, to: &Path) -> Result<()> {
    let prefix = cross_prefix(linux);
    debian::quietly(cmd!(shell, "{prefix}strip -o {to} {from}"))
}

/// What compiler and binutils for another machine are called by.
fn cross_prefix(linux: &Linux) -> String {
    match (linux.architecture, std::env::consts::ARCH) {
        ("amd64", "x86_64") | ("arm64", "aarch64") => String::new(),
        ("amd64", _) => "x86_64-linux-gnu-".to_owned(),
        _ => "aarch64-linux-gnu-".to_owned(),
    }
}

fn setup(workspace: &Workspace, prefix: &str) -> Result<()> {
    let shell = &workspace.shell;
    let compiler = format!("{prefix}{COMPILER}");
    let machine = prefix.trim_end_matches('-');
    let package = if machine.is_empty() { COMPILER.to_owned() } else { format!("{COMPILER}-{machine}") };
    debian::need(shell, &[("make", "make"), (&compiler, &package)])?;
    if std::env::consts::ARCH == "x86_64" && !Path::new(LIBELF.0).is_file() {
        debian::install(shell, &[LIBELF.1])?;
    }
    Ok(())
}

/// Copies what has changed, so that only that is compiled again: the kernel's build system writes beside the sources.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else { continue };
        let (content, copy) = (fs::read(&path)?, to.join(name));
        if fs::read(&copy).ok().as_ref() != Some(&content) {
            fs::write(&copy, content).with_context(|| format!("cannot write {}", copy.display()))?;
        }
    }
    Ok(())
}
