//! The default root file system: busybox, and the scripts in `xtask/guest/` as they lie there.
//!
//! A new guest test is a new file in `xtask/guest/test/`; nothing here knows its name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cache::{self, Kernel};
use super::cpio::Archive;
use crate::board::Board;
use crate::workspace::{Workspace, manifest_folder};

const DIRECTORIES: &[&str] = &[
    "boot",
    "dev",
    "lib",
    "lib/modules",
    "proc",
    "root",
    "sys",
    "tmp",
    "usr",
    "usr/lib",
    "usr/lib/plinth",
    "usr/lib/plinth/extensions",
];

/// One more file for the archive.
pub(crate) struct Extra {
    /// Its name there, in one of the folders that every archive has.
    pub(crate) name: String,
    /// What is copied.
    pub(crate) from: PathBuf,
}

/// Makes the archive; a kernel's modules go in with it, and what else is wanted.
pub(crate) fn make(
    workspace: &Workspace,
    board: &Board,
    kernel: Option<&Kernel>,
    extras: &[Extra],
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for name in DIRECTORIES {
        archive.directory(name);
    }
    archive.device("dev/console", (5, 1));
    tree(&mut archive, &manifest_folder().join("guest"), "")?;
    archive.program("bin/busybox", &super::read(&cache::busybox(workspace, board)?)?);
    archive.link("bin/sh", "busybox");
    for module in kernel.map(Kernel::modules).transpose()?.unwrap_or_default() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.program(&format!("lib/modules/{name}"), &super::read(&module)?);
    }
    for extra in extras {
        archive.program(&extra.name, &super::read(&extra.from)?);
    }
    Ok(archive.finish())
}

/// Adds what is in `folder` as what is in `prefix` of the archive.
fn tree(archive: &mut Archive, folder: &Path, prefix: &str) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    for path in paths {
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            archive.directory(&name);
            tree(archive, &path, &format!("{name}/"))?;
        } else {
            archive.program(&name, &super::read(&path)?);
        }
    }
    Ok(())
}
