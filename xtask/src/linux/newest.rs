//! Builds `loaders/linux` for the newest Linux that Debian has packaged for its stable release, with that release's compiler: its
//! headers come with tools that do not run on an older system.

use std::ffi::OsString;
use std::fs;

use anyhow::{Context, Result};

use super::build::find_complaint;
use crate::debian::{Root, as_root};
use crate::progress::Step;
use crate::workspace::Workspace;

const ROOT: Root = Root {
    name: "headers",
    suites: &["trixie", "trixie-security", "trixie-backports"],
    packages: "make,binutils,linux-headers-cloud-amd64/trixie-backports",
    size: 500,
};
/// Unpacks the system, and builds in it.
const BUILD: &str = include_str!("../../data/debian/build-module.sh");

/// What does not compile, or only with a warning, is an error.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    let archive = ROOT.archive(shell)?;
    let parts = tempfile::tempdir()?;
    let script = parts.path().join("build");
    fs::write(&script, BUILD)?;
    let (sources, tree) = (workspace.root.join("loaders/linux"), parts.path().join("tree"));
    let step = Step::new("building the module for Debian's newest Linux");
    let words: [OsString; 5] = ["sh".into(), script.into(), archive.into(), sources.into(), tree.into()];
    let output = as_root(shell).args(words).quiet().ignore_status().output().context("cannot run unshare")?;
    find_complaint(&output, "Debian's newest Linux")?;
    step.done();
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.lines().find_map(|line| line.strip_prefix("built for "));
    println!("the module builds for Linux {}", version.context("the build does not say for which version")?);
    Ok(())
}
