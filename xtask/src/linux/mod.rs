//! The Linux versions that `loaders/linux` is built for and tried with, as Debian packages them: a kernel that boots, its
//! modules that tests load, and the headers that a module is built against, all of one build.

mod build;
mod fetch;
mod newest;

pub(crate) use build::{module, strip};
pub(crate) use fetch::Fetched;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// A Linux version on a kind of machine.
#[derive(Debug)]
pub(crate) struct Linux {
    /// Its name here: the version, as far as the module cares.
    pub(crate) name: &'static str,
    /// The machine, as Debian calls it.
    pub(crate) architecture: &'static str,
    /// What Debian's packages are called behind `linux-image-` and `linux-headers-`.
    flavour: &'static str,
    /// Debian's suites that have it.
    suites: &'static [&'static str],
    /// Tests boot it.
    boots: bool,
    /// Only `--full` wants it.
    pub(crate) full: bool,
}

const BOOKWORM: &[&str] = &["bookworm", "bookworm-security"];

/// All of them.
pub(crate) const ALL: &[Linux] = &[
    Linux {
        name: "6.1",
        architecture: "amd64",
        flavour: "cloud-amd64",
        suites: BOOKWORM,
        boots: true,
        full: false,
    },
    Linux {
        name: "6.12",
        architecture: "amd64",
        flavour: "6.12-cloud-amd64",
        suites: BOOKWORM,
        boots: true,
        full: false,
    },
    Linux {
        name: "6.1",
        architecture: "arm64",
        flavour: "cloud-arm64",
        suites: BOOKWORM,
        boots: true,
        full: false,
    },
    Linux {
        name: "6.12",
        architecture: "arm64",
        flavour: "6.12-cloud-arm64",
        suites: BOOKWORM,
        boots: true,
        full: false,
    },
    Linux {
        name: "5.10",
        architecture: "amd64",
        flavour: "cloud-amd64",
        suites: &["bullseye-security"],
        boots: false,
        full: true,
    },
];

/// The one of that name for a kind of machine.
pub(crate) fn find(name: &str, architecture: &str) -> Result<&'static Linux> {
    let is_it = |linux: &&Linux| linux.name == name && linux.architecture == architecture;
    ALL.iter()
        .find(is_it)
        .with_context(|| format!("there is no Linux {name} for {architecture} in xtask/src/linux"))
}

/// Builds the module for every version: what does not compile there, or only with a warning, is an error.
pub(crate) fn check(workspace: &Workspace, full: bool) -> Result<()> {
    for linux in ALL.iter().filter(|linux| full || !linux.full) {
        let module = module(workspace, linux)?;
        check_version(workspace, &module)?;
    }
    if full { newest::check(workspace) } else { Ok(()) }
}

/// The module's own version is the workspace's.
fn check_version(workspace: &Workspace, module: &Path) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let bytes = std::fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let wanted = format!("\0version={version}\0");
    let dkms = std::fs::read_to_string(workspace.root.join("loaders/linux/dkms.conf"))?;
    let is_in_dkms = dkms.contains(&format!("PACKAGE_VERSION=\"{version}\"\n"));
    if !is_in_dkms || !bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
        bail!(
            "loaders/linux has another version than {version}; correct MODULE_VERSION in main.c, and dkms.conf"
        );
    }
    Ok(())
}
