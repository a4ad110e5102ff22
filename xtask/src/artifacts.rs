//! Builds what runs on a board: kernel, loader, extensions, test guests.
//!
//! Which target a package is built for follows from its folder, so that adding an extension or a guest means
//! adding its folder and nothing here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::Package;

use crate::board::{self, Board};
use crate::c_extensions;
use crate::cli::BuildOptions;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The extension that ships, and its program.
const DEFAULT_EXTENSION: &str = "plinth-extension-default";
const DEFAULT_EXTENSION_PROGRAM: &str = "default";

/// The files that every boot of a board needs.
pub(crate) struct Images {
    /// The kernel's ELF file.
    pub(crate) kernel: PathBuf,
    /// The loader.
    pub(crate) loader: PathBuf,
    /// The default extension's ELF file.
    pub(crate) extension: PathBuf,
}

/// `cargo xtask build`.
pub(crate) fn build_command(workspace: &Workspace, options: &BuildOptions) -> Result<()> {
    let board = board::find(&workspace.root.join("boards"), &options.board)?;
    let images = build(workspace, &board)?;
    for path in [&images.kernel, &images.loader, &images.extension] {
        println!("{}", path.display());
    }
    Ok(())
}

/// Builds kernel, loader and default extension.
pub(crate) fn build(workspace: &Workspace, board: &Board) -> Result<Images> {
    let freestanding = [board.kernel.as_str(), DEFAULT_EXTENSION];
    compile(workspace, &board.triple, &freestanding)?;
    compile(workspace, &board.firmware_triple(), &[board.loader.package()])?;
    Ok(Images {
        kernel: file(workspace, &board.triple, "plinth"),
        loader: file(workspace, &board.firmware_triple(), board.loader.file()),
        extension: file(workspace, &board.triple, DEFAULT_EXTENSION_PROGRAM),
    })
}

/// Builds the extensions and EFI applications that only tests use.
pub(crate) fn build_tests(workspace: &Workspace, board: &Board) -> Result<()> {
    for (folder, triple) in test_folders(board) {
        let packages = workspace.packages_in(folder);
        let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
        if !names.is_empty() {
            compile(workspace, &triple, &names)?;
        }
    }
    c_extensions::build(workspace, &board.triple)
}

fn test_folders(board: &Board) -> [(&'static str, String); 3] {
    let triple = || board.triple.clone();
    [("extensions", triple()), ("tests/extensions", triple()), ("tests/guests", board.firmware_triple())]
}

/// What no board of the tool boots yet, with its target.
const WITHOUT_BOARD: [(&str, &str); 4] = [
    ("loaders/multiboot2", "x86_64-unknown-none"),
    ("images/armv8", "aarch64-unknown-none-softfloat"),
    ("loaders/arm64-image", "aarch64-unknown-none-softfloat"),
    ("extensions", "aarch64-unknown-none-softfloat"),
];

/// Every freestanding package with the targets it is built for: for clippy.
pub(crate) fn targets<'a>(workspace: &'a Workspace, board: &Board) -> Vec<(&'a Package, String)> {
    let mut folders = vec![("images/x86", board.triple.clone())];
    folders.push(("loaders/uefi", board.firmware_triple()));
    folders.extend(test_folders(board));
    folders.extend(WITHOUT_BOARD.map(|(folder, triple)| (folder, triple.to_owned())));
    let packages = folders.into_iter().flat_map(|(folder, triple)| {
        workspace.packages_in(folder).into_iter().map(move |package| (package, triple.clone()))
    });
    packages.collect()
}

/// The ELF file of an extension that tests use.
pub(crate) fn test_extension(workspace: &Workspace, board: &Board, name: &str) -> Result<PathBuf> {
    existing(file(workspace, &board.triple, name), "extensions and tests/extensions")
}

/// A test guest's EFI application.
pub(crate) fn test_guest(workspace: &Workspace, board: &Board, name: &str) -> Result<PathBuf> {
    existing(file(workspace, &board.firmware_triple(), &format!("{name}.efi")), "tests/guests")
}

fn existing(path: PathBuf, folder: &str) -> Result<PathBuf> {
    if !path.is_file() {
        bail!(
            "the packages in {folder} made no {}; add that program there, or correct the name",
            path.display()
        );
    }
    Ok(path)
}

fn compile(workspace: &Workspace, triple: &str, packages: &[&str]) -> Result<()> {
    for package in packages {
        if !workspace.has_package(package) {
            bail!(
                "the workspace has no package {package}; the board's manifest or the root Cargo.toml is wrong"
            );
        }
    }
    let toolchain = Toolchain::for_target(&workspace.shell, triple)?;
    let selection = packages.iter().flat_map(|package| ["--package", package]);
    let command = toolchain.cargo(&workspace.shell, "build", triple).arg("--release").args(selection);
    // Cargo's own progress is the best there is, but it belongs on standard error alone.
    command.quiet().run().with_context(|| format!("{} did not build for {triple}", packages.join(" or ")))
}

fn file(workspace: &Workspace, triple: &str, name: &str) -> PathBuf {
    workspace.target.join(triple).join("release").join(Path::new(name))
}
