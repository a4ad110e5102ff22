//! `cargo xtask abi`: what is made from the ABI crate's one definition, written to where people and compilers look
//! for it. A host test fails while what is checked in is not what would be made now.

mod header;
mod pages;
mod snapshot;
mod tables;

use anyhow::{Context, Result, bail};

use crate::cli::AbiOptions;
use crate::workspace::Workspace;

/// A file that is made: its path in the workspace, and its content.
struct Made {
    path: &'static str,
    content: String,
}

/// Every file but the snapshot.
fn made() -> Vec<Made> {
    let mut files = pages::all();
    files.push(Made { path: "extension-api/include/plinth.h", content: header::text() });
    files
}

/// Writes them. A change of the snapshot must be asked for.
pub(crate) fn abi(workspace: &Workspace, options: &AbiOptions) -> Result<()> {
    for file in made() {
        let path = workspace.root.join(file.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, file.content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let path = workspace.root.join(snapshot::PATH);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = snapshot::compare(&old, &snapshot::text());
    if difference.breaks() && !options.accept {
        bail!("{difference}\n{}", snapshot::ADVICE);
    }
    std::fs::write(&path, snapshot::text()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn what_is_checked_in_is_what_would_be_made() {
        for file in made() {
            let there = std::fs::read_to_string(root().join(file.path)).unwrap_or_default();
            assert!(there == file.content, "{} is stale: run `cargo xtask abi` and commit", file.path);
        }
    }

    #[test]
    fn nothing_that_was_there_has_changed() {
        let old = std::fs::read_to_string(root().join(snapshot::PATH)).unwrap();
        let difference = snapshot::compare(&old, &snapshot::text());
        assert!(!difference.breaks(), "{difference}\n{}", snapshot::ADVICE);
        assert!(old == snapshot::text(), "{} is stale: run `cargo xtask abi` and commit", snapshot::PATH);
    }

    /// The header's own assertions on sizes and offsets are what this compiles.
    #[test]
    fn a_c_compiler_takes_the_header_and_agrees_with_its_layouts() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("header.c");
        std::fs::write(&source, "#include <plinth.h>\n#include <plinth.h>\nint unused;\n").unwrap();
        let strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-ffreestanding", "-O1", "-c"];
        let done = Command::new("cc")
            .args(strict)
            .arg("-I")
            .arg(root().join("extension-api/include"))
            .arg(&source)
            .arg("-o")
            .arg(folder.path().join("header.o"))
            .status()
            .expect("cc, which rustc links with, is there");
        assert!(done.success());
    }
}
