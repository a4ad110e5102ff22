//! What a test takes that boots a whole Debian system with the package installed.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::BootOptions;
use crate::debian::System;
use crate::package::{self, Machine};
use crate::test::table::Test;
use crate::workspace::Workspace;

fn folder(workspace: &Workspace) -> Result<PathBuf> {
    workspace.output("debian")
}

/// Makes package and system, before several tests run at the same time.
pub(super) fn prepare(workspace: &Workspace, test: &Test) -> Result<()> {
    if test.debian {
        let package = package::debian(workspace, Machine::Amd64)?;
        System::install(&workspace.shell, &package, &folder(workspace)?)?;
    }
    Ok(())
}

/// The options that boot it.
pub(super) fn options(workspace: &Workspace, options: BootOptions) -> Result<BootOptions> {
    let system = System::in_folder(folder(workspace)?);
    let (payload, initrd) = (Some(system.kernel()), Some(system.initrd()));
    Ok(BootOptions { payload, initrd, extension: None, bare: true, ..options })
}

/// The emulator's arguments: the disk, which is not changed.
pub(super) fn arguments(workspace: &Workspace, test: &Test) -> Result<Vec<String>> {
    if !test.debian {
        return Ok(Vec::new());
    }
    let disk = System::in_folder(folder(workspace)?).disk();
    let drive = format!("file={},if=virtio,format=raw,snapshot=on", disk.display());
    Ok(vec!["-drive".to_owned(), drive])
}
