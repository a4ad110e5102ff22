//! `cargo xtask new-extension`: the crate that a new extension begins as.
//!
//! It builds as it is, with one `cargo build`, in a folder of its own anywhere or as a member of this workspace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::NewExtensionOptions;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// What the crate is built for unless told otherwise.
const TRIPLE: &str = "x86_64-unknown-none";

/// The files of the crate; NAME and API stand for what their names say.
const MAIN: &str = include_str!("../data/new-extension/main.rs");
const MANIFEST_INSIDE: &str = include_str!("../data/new-extension/inside.toml");
const MANIFEST_OUTSIDE: &str = include_str!("../data/new-extension/outside.toml");
const CONFIG: &str = include_str!("../data/new-extension/config.toml");
const IGNORED: &str = "/target\n";

/// Names of files on the boot volume, of the standard library, and of the crates that Plinth is made of.
const TAKEN: [&str; 8] = ["plinth", "default", "core", "std", "alloc", "test", "xtask", "log"];

/// Makes the crate and says what to do with it.
pub(crate) fn new_extension(workspace: &Workspace, options: &NewExtensionOptions) -> Result<()> {
    let folder = create(workspace, &options.name, options.path.as_deref())?;
    if let Err(error) = Toolchain::for_target(&workspace.shell, TRIPLE) {
        eprintln!("note: building it needs one thing more: {error:#}");
    }
    let target = if is_inside(workspace, &folder) { workspace.target.clone() } else { folder.join("target") };
    let name = &options.name;
    println!("made {}", folder.display());
    println!("build it:  cd {} && cargo build --release", folder.display());
    println!("run it:    cd {} && cargo xtask run --extension \\", workspace.root.display());
    println!("             {}", target.join(TRIPLE).join("release").join(name).display());
    println!("the first steps are in docs/first-extension.md");
    Ok(())
}

/// Makes the crate in `parent`, by default among the extensions of the workspace. Returns its folder.
fn create(workspace: &Workspace, name: &str, parent: Option<&Path>) -> Result<PathBuf> {
    check_name(name)?;
    let parent = parent_folder(workspace, parent)?;
    let folder = parent.join(name);
    if folder.exists() {
        bail!("{} is there already; take another name or remove it", folder.display());
    }
    let inside = is_inside(workspace, &folder);
    if inside && parent != workspace.root.join("extensions") {
        bail!(
            "inside this checkout extensions are made in extensions/; leave --path away, or name a folder outside"
        );
    }
    let manifest = if inside { MANIFEST_INSIDE } else { MANIFEST_OUTSIDE };
    let api = workspace.root.join("extension-api");
    let fill = |text: &str| text.replace("NAME", name).replace("API", &api.display().to_string());
    write(&folder, "Cargo.toml", &fill(manifest))?;
    write(&folder, "src/main.rs", &fill(MAIN))?;
    write(&folder, ".cargo/config.toml", CONFIG)?;
    if !inside {
        write(&folder, ".gitignore", IGNORED)?;
    }
    Ok(folder)
}

/// The folder that is meant, however it is written.
fn parent_folder(workspace: &Workspace, named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(path) => fs::canonicalize(path).with_context(|| {
            format!("there is no folder {}; make it first, or name another", path.display())
        }),
        None => Ok(workspace.root.join("extensions")),
    }
}

fn is_inside(workspace: &Workspace, folder: &Path) -> bool {
    folder.starts_with(&workspace.root)
}

fn write(folder: &Path, name: &str, content: &str) -> Result<()> {
    let path = folder.join(name);
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// A name that cargo, the boot volume and people take.
fn check_name(name: &str) -> Result<()> {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !plain || !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.ends_with('-') {
        bail!("{name:?} is no name for an extension: small letters, digits and '-', a letter first");
    }
    if TAKEN.contains(&name) {
        bail!("{name:?} is the name of something else; take another one");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the crate outside the checkout and builds it as a newcomer would, for both machines.
    #[test]
    fn a_new_extension_builds_outside_the_checkout() {
        let workspace = Workspace::open().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let folder = create(&workspace, "first", Some(scratch.path())).unwrap();
        assert!(create(&workspace, "first", Some(scratch.path())).is_err(), "it is there already");
        // The versions that this workspace has fetched already, so that the test needs no network.
        fs::copy(workspace.root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        for triple in [TRIPLE, "aarch64-unknown-none-softfloat"] {
            let toolchain = Toolchain::for_target(&workspace.shell, triple).unwrap();
            let _inside = workspace.shell.push_dir(&folder);
            let build = toolchain.cargo(&workspace.shell, "build", triple);
            build.arg("--release").quiet().run().unwrap();
            let program = fs::read(folder.join("target").join(triple).join("release/first")).unwrap();
            assert!(program.starts_with(b"\x7fELF"));
        }
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "my-extension", "x2"] {
            check_name(good).unwrap();
        }
        for bad in ["", "-a", "a-", "Own", "2x", "a_b", "../a", "default", "plinth"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_folder_beside_the_checkout_is_outside() {
        let workspace = Workspace::open().unwrap();
        let parent = parent_folder(&workspace, Some(&workspace.root.join(".."))).unwrap();
        assert!(!is_inside(&workspace, &parent.join("hello")), "{}", parent.display());
        let error = parent_folder(&workspace, Some(Path::new("no/such/folder"))).unwrap_err();
        assert!(error.to_string().contains("make it first"), "{error}");
    }

    #[test]
    fn inside_the_checkout_there_is_one_place() {
        let workspace = Workspace::open().unwrap();
        let error = create(&workspace, "stray", Some(&workspace.root.join("docs"))).unwrap_err();
        assert!(error.to_string().contains("extensions/"), "{error}");
        assert!(create(&workspace, "trace", None).unwrap_err().to_string().contains("already"));
    }
}
