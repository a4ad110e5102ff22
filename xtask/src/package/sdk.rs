//! The SDK: what an extension is built from in any folder, without a checkout of Plinth.
//!
//! Its folders have the names that they have in the checkout, so that paths between them hold.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use super::programs::copy;
use super::tree::write;
use super::{Source, tar};
use crate::progress::Step;

const README: &str = include_str!("../../data/package/sdk.md");
const NEW_EXTENSION: &str = include_str!("../../data/package/new-extension.sh");

/// Folders that go in as they are.
const FOLDERS: [&str; 2] = ["sdk/c", "extensions/hello-c"];
/// The crate that goes in as cargo publishes it: with no word of the workspace in its manifest.
const CRATE: (&str, &str) = ("plinth-extension-api", "extension-api");
/// What `cargo package` adds, of no use to anybody here.
const NOT_IN_CRATE: [&str; 2] = [".cargo_vcs_info.json", "Cargo.toml.orig"];

/// Makes the tarball in `folder`.
pub(super) fn make(source: &Source<'_>, folder: &Path) -> Result<PathBuf> {
    let step = Step::new("packing the SDK");
    let scratch = source.workspace.scratch()?;
    let name = format!("plinth-sdk-{}", source.version);
    let root = scratch.path().join(&name);
    for from in FOLDERS {
        copy_tracked(source, from, &root)?;
    }
    unpack_crate(source, &root)?;
    write(&root, "README.md", README.replace("@VERSION@", &source.version).as_bytes())?;
    write(&root, "new-extension", NEW_EXTENSION.as_bytes())?;
    cmd!(source.workspace.shell, "chmod 755 {root}/new-extension").quiet().run()?;
    let data = source.workspace.root.join("xtask/data/new-extension");
    for file in ["main.rs", "outside.toml", "config.toml"] {
        copy(&data.join(file), &root.join("template").join(file))?;
    }
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&source.workspace.root.join(file), &root.join(file))?;
    }
    let archive = folder.join(format!("{name}.tar.xz"));
    tar(source, scratch.path(), &name, &archive)?;
    step.done();
    Ok(archive)
}

/// Copies what git knows of a folder, so that nothing that was built there goes in.
fn copy_tracked(source: &Source<'_>, folder: &str, root: &Path) -> Result<()> {
    let files = cmd!(source.workspace.shell, "git ls-files -- {folder}").quiet().read()?;
    for file in files.lines() {
        copy(&source.workspace.root.join(file), &root.join(file))?;
    }
    Ok(())
}

fn unpack_crate(source: &Source<'_>, root: &Path) -> Result<()> {
    let shell = &source.workspace.shell;
    let (package, folder) = CRATE;
    let target = source.workspace.output("package-crate")?;
    cmd!(shell, "cargo package --quiet --package {package} --no-verify --allow-dirty --target-dir {target}")
        .quiet()
        .ignore_stderr()
        .run()
        .with_context(|| format!("cargo cannot package {package}"))?;
    let archive = target.join(format!("package/{package}-{}.crate", source.version));
    let to = root.join(folder);
    fs::create_dir_all(&to)?;
    cmd!(shell, "tar --extract --file {archive} --directory {to} --strip-components=1").quiet().run()?;
    for file in NOT_IN_CRATE {
        fs::remove_file(to.join(file)).with_context(|| format!("cargo put no {file} into the package"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::c_extensions;
    use crate::toolchain::Toolchain;
    use crate::workspace::Workspace;

    use super::*;

    /// Unpacks the SDK somewhere, makes an extension by its script and builds that one, and the one in C.
    #[test]
    fn an_extension_is_built_from_the_sdk_alone() {
        let workspace = Workspace::open().unwrap();
        c_extensions::setup(&workspace, std::env::consts::ARCH).unwrap();
        let archive = super::super::sdk(&workspace).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let _inside = workspace.shell.push_dir(scratch.path());
        let shell = &workspace.shell;
        cmd!(shell, "tar --extract --strip-components=1 --file {archive}").quiet().run().unwrap();
        cmd!(shell, "./new-extension first .").quiet().ignore_stdout().run().unwrap();
        assert!(cmd!(shell, "./new-extension first .").quiet().ignore_stderr().run().is_err(), "it is there");
        assert!(cmd!(shell, "./new-extension ../x .").quiet().ignore_stderr().run().is_err(), "no name");
        // The versions that this workspace has fetched already, so that the test needs no network.
        copy(&workspace.root.join("Cargo.lock"), &scratch.path().join("first/Cargo.lock")).unwrap();
        let triple = "x86_64-unknown-none";
        let toolchain = Toolchain::for_target(shell, triple).unwrap();
        {
            let _crate = shell.push_dir("first");
            toolchain.cargo(shell, "build", triple).arg("--release").quiet().run().unwrap();
        }
        cmd!(shell, "make --quiet -C extensions/hello-c").quiet().run().unwrap();
        let rust = scratch.path().join("first/target").join(triple).join("release/first");
        let machine = std::env::consts::ARCH;
        let c = scratch.path().join(format!("extensions/hello-c/build/{machine}/hello-c"));
        for program in [rust, c] {
            assert!(fs::read(&program).unwrap().starts_with(b"\x7fELF"), "{}", program.display());
        }
    }
}
