//! Builds the extensions that are not Rust: folders of `extensions/` with a Makefile, by `make` and a C compiler.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::cmd;

use crate::debian;
use crate::workspace::Workspace;

/// Builds them for `triple`, into the folder where cargo puts its programs for it.
pub(crate) fn build(workspace: &Workspace, triple: &str) -> Result<()> {
    let architecture = triple.split('-').next().unwrap_or(triple);
    let output = workspace.target.join(triple).join("release");
    let shell = &workspace.shell;
    setup(workspace, architecture)?;
    for folder in folders(workspace)? {
        cmd!(shell, "make --silent -C {folder} ARCH={architecture} OUTPUT={output}")
            .quiet()
            .run()
            .with_context(|| format!("{} did not build for {architecture}", folder.display()))?;
    }
    Ok(())
}

/// Installs what building them takes: the host's own compiler builds for its own machine, clang and lld for all.
pub(crate) fn setup(workspace: &Workspace, architecture: &str) -> Result<()> {
    let native = std::env::consts::ARCH == architecture;
    let programs: &[(&str, &str)] = if native {
        &[("make", "make"), ("cc", "gcc")]
    } else {
        &[("make", "make"), ("clang", "clang"), ("ld.lld", "lld")]
    };
    debian::need(&workspace.shell, programs)
}

fn folders(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let parent = workspace.root.join("extensions");
    let entries = fs::read_dir(&parent).with_context(|| format!("cannot read {}", parent.display()))?;
    let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    folders.retain(|folder| folder.join("Makefile").is_file());
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the host's own compiler; warnings are errors. The board tests build them for the boards' machines.
    #[test]
    fn the_c_extensions_build_without_rust() {
        let workspace = Workspace::open().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let (output, architecture) = (scratch.path(), std::env::consts::ARCH);
        let folders = folders(&workspace).unwrap();
        assert!(!folders.is_empty());
        for folder in folders {
            let make =
                cmd!(workspace.shell, "make --silent -C {folder} ARCH={architecture} OUTPUT={output} CC=cc");
            make.quiet().run().unwrap();
            let program = fs::read(output.join(folder.file_name().unwrap())).unwrap();
            assert!(program.starts_with(b"\x7fELF"));
        }
    }
}
