//! The Debian package's files, where they will lie.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use xshell::cmd;

use super::Source;
use super::programs::{Programs, copy};

/// The service that launches Plinth.
const SERVICE: &str = include_str!("../../data/package/plinth.service");
/// What is run before and after sleep.
const SLEEP_HOOK: &str = include_str!("../../data/package/sleep-hook.sh");
/// The options of a launch by the service.
const DEFAULTS: &str = include_str!("../../data/package/defaults");
/// Who may copy it.
const COPYRIGHT: &str = include_str!("../../data/package/copyright");

/// Lays out everything below `root`.
pub(super) fn lay_out(source: &Source<'_>, programs: &Programs, root: &Path) -> Result<()> {
    copy(&programs.vmmctl, &root.join("usr/sbin/vmmctl"))?;
    copy(&programs.kernel, &root.join("usr/lib/plinth/kernel"))?;
    for extension in &programs.extensions {
        let name = extension.file_name().context("an extension without a name")?;
        copy(extension, &root.join("usr/lib/plinth/extensions").join(name))?;
    }
    module(source, &root.join(format!("usr/src/plinth-{}", source.version)))?;
    write(root, "lib/systemd/system/plinth.service", SERVICE.as_bytes())?;
    write(root, "lib/systemd/system-sleep/plinth", SLEEP_HOOK.as_bytes())?;
    write(root, "etc/default/plinth", DEFAULTS.as_bytes())?;
    write(root, "usr/share/doc/plinth/copyright", COPYRIGHT.as_bytes())?;
    described_by_itself(source, root)
}

/// The module's sources, for DKMS.
fn module(source: &Source<'_>, folder: &Path) -> Result<()> {
    let from = source.workspace.root.join("loaders/linux");
    for entry in fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else { continue };
        copy(&path, &folder.join(name))?;
    }
    Ok(())
}

/// Manual page and completions, which `vmmctl` makes from its own command line: by one built for the machine that
/// this runs on, as the other one may not run here.
fn described_by_itself(source: &Source<'_>, root: &Path) -> Result<()> {
    let shell = &source.workspace.shell;
    let vmmctl = |arguments: &[&str]| -> Result<Vec<u8>> {
        let run = cmd!(shell, "cargo run --quiet --package vmmctl -- {arguments...}").quiet();
        Ok(run.output().context("vmmctl does not run here")?.stdout)
    };
    let page = root.join("usr/share/man/man8/vmmctl.8");
    write(root, "usr/share/man/man8/vmmctl.8", &vmmctl(&["man"])?)?;
    cmd!(shell, "gzip --best --no-name {page}").quiet().run().context("gzip")?;
    for (name, place) in [
        ("bash", "usr/share/bash-completion/completions/vmmctl"),
        ("zsh", "usr/share/zsh/vendor-completions/_vmmctl"),
        ("fish", "usr/share/fish/vendor_completions.d/vmmctl.fish"),
    ] {
        write(root, place, &vmmctl(&["completions", name])?)?;
    }
    Ok(())
}

pub(super) fn write(root: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = root.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
}
