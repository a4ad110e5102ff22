//! Whether the same commit gives the same bytes elsewhere: everything is built again in a clone, and compared.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum as _;
use xshell::cmd;

use super::{Machine, hash};
use crate::progress::Step;
use crate::workspace::Workspace;

/// Compares the files in `made` with those that a clone of the last commit makes.
pub(super) fn verify(workspace: &Workspace, machine: Option<Machine>, made: &[PathBuf]) -> Result<()> {
    let shell = &workspace.shell;
    let changes = cmd!(shell, "git status --porcelain --untracked-files=no").quiet().read()?;
    if !changes.is_empty() {
        bail!("a clone has the last commit alone, and these files are changed; commit first:\n{changes}");
    }
    let folder = tempfile::tempdir().context("cannot make a folder for the clone")?;
    let (root, clone) = (&workspace.root, folder.path().join("elsewhere"));
    cmd!(shell, "git clone --quiet {root} {clone}").quiet().run()?;
    let machine = machine.and_then(|machine| machine.to_possible_value());
    let options = machine.iter().flat_map(|machine| ["--machine", machine.get_name()]);
    let step = Step::new("building everything again in another folder");
    let manifest = clone.join("Cargo.toml");
    let (target, again) = (clone.join("target"), ["xtask", "package"]);
    let build =
        cmd!(shell, "cargo run --quiet --manifest-path {manifest} --package {again...}").args(options);
    build
        .env("CARGO_TARGET_DIR", &target)
        .quiet()
        .ignore_stdout()
        .run()
        .context("the clone makes no package")?;
    step.done();
    let differ: Vec<_> = made
        .iter()
        .filter_map(|path| difference(workspace, path, &clone).transpose())
        .collect::<Result<_>>()?;
    if !differ.is_empty() {
        bail!(
            "two builds of one commit differ, so something of the machine or of its folders went in: {}",
            differ.join(", ")
        );
    }
    println!("a second build in another folder gives the same {} files", made.len());
    Ok(())
}

/// The file's name, if the clone has made another one.
fn difference(workspace: &Workspace, path: &Path, clone: &Path) -> Result<Option<String>> {
    let name = workspace.relative(path);
    let is_same = hash(workspace, path)? == hash(workspace, &clone.join(name))?;
    Ok((!is_same).then(|| name.display().to_string()))
}
