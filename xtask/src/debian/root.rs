//! Debian systems that are made from packages, as archives in the cache.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use xshell::{Cmd, Shell, cmd};

use super::apt::{native_architecture, sources};
use super::{is_root, need, quietly};
use crate::progress::Step;
use crate::workspace::cache;

/// The machine. Programs of the system run here.
const ARCHITECTURE: &str = "amd64";

/// What a system is made from.
pub(crate) struct Root {
    /// What it is for: its name in the cache.
    pub(crate) name: &'static str,
    /// The release, then where else its packages come from.
    pub(crate) suites: &'static [&'static str],
    /// Packages beside the smallest system, which commas separate.
    pub(crate) packages: &'static str,
    /// MB that it takes in the cache.
    pub(crate) size: u32,
}

impl Root {
    /// The system's archive, made unless the cache has it.
    pub(crate) fn archive(&self, shell: &Shell) -> Result<PathBuf> {
        let native = native_architecture(shell)?;
        if native != ARCHITECTURE {
            bail!(
                "the Debian systems of tests are for {ARCHITECTURE}, and their programs do not run on {native}"
            );
        }
        let (cache, release) = (cache()?, self.suites[0]);
        let archive = cache.join(format!("debian-{release}-{}-{ARCHITECTURE}.tar", self.name));
        if archive.is_file() {
            return Ok(archive);
        }
        need(shell, &[("mmdebstrap", "mmdebstrap")])?;
        let scratch = tempfile::tempdir_in(&cache).context("cannot write to the cache")?;
        let (list, made) = (scratch.path().join("sources.list"), scratch.path().join("system.tar"));
        let sources =
            sources(shell, self.suites)?.context("this machine has no source of Debian's packages")?;
        fs::write(&list, sources)?;
        let mode = if is_root() { "root" } else { "unshare" };
        let (packages, size) = (self.packages, self.size);
        let place = cache.display();
        let step =
            Step::new(format!("making a Debian system from its packages ({size} MB, once, into {place})"));
        quietly(cmd!(
            shell,
            "mmdebstrap --mode={mode} --variant=minbase --architectures={ARCHITECTURE} --include={packages} {release} {made} {list}"
        ))?;
        step.done();
        fs::rename(&made, &archive).with_context(|| format!("cannot create {}", archive.display()))?;
        Ok(archive)
    }
}

/// A command that runs as root, of this machine or of a user namespace of its own, where files may have any owner. What it
/// mounts is gone when it ends.
pub(crate) fn as_root(shell: &Shell) -> Cmd<'_> {
    if is_root() {
        cmd!(shell, "unshare --mount --")
    } else {
        cmd!(shell, "unshare --map-root-user --map-auto --mount --")
    }
}
