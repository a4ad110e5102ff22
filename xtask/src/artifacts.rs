//! Builds what runs on a board: kernel, loader, extensions, test guests.
//!
//! Which target a package is built for follows from its folder, so that adding an extension or a guest means
//! adding its folder and nothing here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Package, Target};

use crate::board::{self, Board, Loader};
use crate::c_extensions;
use crate::cli::BuildOptions;
use crate::linux_programs::LinuxTarget;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The extension that ships, and its program.
const DEFAULT_EXTENSION: &str = "plinth-extension-default";
const DEFAULT_EXTENSION_PROGRAM: &str = "default";

/// Where the programs of released versions of the ABI are kept.
const RELEASED: &str = "tests/abi";

/// The feature of a kernel's package that makes a second image, with faults that tests set off.
const FAULTS: &str = "fault-injection";

/// The files that every boot of a board needs.
#[derive(Clone)]
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

/// Builds the kernel alone, and returns its ELF file.
pub(crate) fn kernel(workspace: &Workspace, board: &Board) -> Result<PathBuf> {
    compile(workspace, &board.triple, &[board.kernel.as_str()])?;
    Ok(file(workspace, &board.triple, "plinth"))
}

/// Builds kernel, loader and default extension.
pub(crate) fn build(workspace: &Workspace, board: &Board) -> Result<Images> {
    let freestanding = [board.kernel.as_str(), DEFAULT_EXTENSION];
    compile(workspace, &board.triple, &freestanding)?;
    compile(workspace, &board.loader_triple(), &[board.loader.package()])?;
    Ok(Images {
        kernel: file(workspace, &board.triple, "plinth"),
        loader: file(workspace, &board.loader_triple(), board.loader.file()),
        extension: file(workspace, &board.triple, DEFAULT_EXTENSION_PROGRAM),
    })
}

/// Builds the kernels, extensions and EFI applications that only tests use.
pub(crate) fn build_tests(workspace: &Workspace, board: &Board) -> Result<()> {
    if let Some(faulty) = workspace.package(&board.kernel).and_then(faulty) {
        // Not the package's other image, which would get the faults too.
        let options = ["--bin", faulty, "--features", FAULTS];
        compile_with(workspace, &board.triple, &[board.kernel.as_str()], &options)?;
    }
    for (folder, triple) in test_folders(board) {
        let packages = workspace.packages_in(folder);
        let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
        if !names.is_empty() {
            compile(workspace, &triple, &names)?;
        }
    }
    c_extensions::build(workspace, &board.triple)
}

/// Where tests find extensions and guests, with the target that each folder is built for.
fn test_folders(board: &Board) -> Vec<(&'static str, String)> {
    let mut folders = vec![("extensions", board.triple.clone()), ("tests/extensions", board.triple.clone())];
    folders.extend(guest_folder(board).map(|folder| (folder, board.loader_triple())));
    folders
}

/// The test guests that the board's loader can start.
fn guest_folder(board: &Board) -> Option<&'static str> {
    match board.loader {
        Loader::Uefi if board.architecture() == "x86_64" => Some("tests/guests"),
        Loader::Uefi => Some("tests/guests-efi"),
        Loader::Multiboot2 => Some("tests/guests-bios"),
        Loader::Arm64Image => Some("tests/guests-armv8"),
    }
}

/// Every freestanding package with the targets that some board needs it for: for clippy.
pub(crate) fn targets<'a>(workspace: &'a Workspace, boards: &[Board]) -> Vec<(&'a Package, String)> {
    let mut packages = BTreeMap::new();
    for board in boards {
        let mut add = |package: &'a Package, triple: String| {
            packages.insert((package.name.to_string(), triple), package);
        };
        workspace.package(&board.kernel).into_iter().for_each(|package| add(package, board.triple.clone()));
        let loader = workspace.package(board.loader.package());
        loader.into_iter().for_each(|package| add(package, board.loader_triple()));
        for (folder, triple) in test_folders(board) {
            workspace.packages_in(folder).into_iter().for_each(|package| add(package, triple.clone()));
        }
    }
    packages.into_iter().map(|((_, triple), package)| (package, triple)).collect()
}

/// The name of a package's image with faults.
fn faulty(package: &Package) -> Option<&str> {
    let has_faults = |target: &&Target| target.required_features.iter().any(|feature| feature == FAULTS);
    package.targets.iter().find(has_faults).map(|target| target.name.as_str())
}

/// The features with which clippy looks at a package: all that its programs can be built with.
pub(crate) fn features(package: &Package) -> &'static [&'static str] {
    if faulty(package).is_some() { &["--features", FAULTS] } else { &[] }
}

/// The packages with programs that run in a board's Linux, to launch Plinth below it.
const LINUX_PACKAGES: [&str; 2] = ["vmmctl", "plinth-test-late-launch"];

/// Builds them.
pub(crate) fn build_linux_programs(workspace: &Workspace, board: &Board) -> Result<()> {
    let target = LinuxTarget::of(&workspace.shell, board.architecture())?;
    target
        .build(&workspace.shell, &LINUX_PACKAGES)
        .with_context(|| format!("{} did not build for {}", LINUX_PACKAGES.join(" or "), target.triple))
}

/// One of these programs' files, once it is built.
pub(crate) fn linux_program(workspace: &Workspace, board: &Board, name: &str) -> Result<PathBuf> {
    let target = LinuxTarget::of(&workspace.shell, board.architecture())?;
    existing(target.file(&workspace.target, name), "vmmctl and tests/late-launch")
}

/// The ELF file of a kernel that only tests use.
pub(crate) fn test_kernel(workspace: &Workspace, board: &Board, name: &str) -> Result<PathBuf> {
    existing(file(workspace, &board.triple, name), &board.kernel)
}

/// The ELF file of an extension that tests use.
pub(crate) fn test_extension(workspace: &Workspace, board: &Board, name: &str) -> Result<PathBuf> {
    existing(file(workspace, &board.triple, name), "extensions and tests/extensions")
}

/// An extension as it was built when `version` of the ABI was released: never built again.
pub(crate) fn released_extension(
    workspace: &Workspace,
    board: &Board,
    version: u32,
    name: &str,
) -> Result<PathBuf> {
    let folder = workspace.root.join(RELEASED).join(version.to_string());
    existing(folder.join(board.architecture()).join(name), RELEASED)
}

/// The conformance checks of a released version of the ABI, one a line.
pub(crate) fn released_checks(workspace: &Workspace, version: u32) -> Result<String> {
    let path = workspace.root.join(RELEASED).join(version.to_string()).join("checks");
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// A test guest's file: an EFI application, or the ELF file of an arm64 Image or a bzImage.
pub(crate) fn test_guest(workspace: &Workspace, board: &Board, name: &str) -> Result<PathBuf> {
    let Some(folder) = guest_folder(board) else {
        bail!("no test guest can be started by the loader of board {}", board.name)
    };
    let extension = if board.loader == Loader::Uefi { ".efi" } else { "" };
    existing(file(workspace, &board.loader_triple(), &format!("{name}{extension}")), folder)
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
    compile_with(workspace, triple, packages, &[])
}

fn compile_with(workspace: &Workspace, triple: &str, packages: &[&str], options: &[&str]) -> Result<()> {
    for package in packages {
        if workspace.package(package).is_none() {
            bail!(
                "the workspace has no package {package}; the board's manifest or the root Cargo.toml is wrong"
            );
        }
    }
    let toolchain = Toolchain::for_target(&workspace.shell, triple)?;
    let selection = packages.iter().flat_map(|package| ["--package", package]);
    let command =
        toolchain.cargo(&workspace.shell, "build", triple).arg("--release").args(selection).args(options);
    // Cargo's own progress is the best there is, but it belongs on standard error alone.
    command.quiet().run().with_context(|| format!("{} did not build for {triple}", packages.join(" or ")))
}

fn file(workspace: &Workspace, triple: &str, name: &str) -> PathBuf {
    workspace.target.join(triple).join("release").join(Path::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs of one triple lie in one folder: of two with the same name the later build would stand for both.
    #[test]
    fn no_two_programs_of_a_triple_have_the_same_name() {
        let workspace = Workspace::open().unwrap();
        let boards = board::all(&workspace.root.join("boards")).unwrap();
        let mut programs = BTreeMap::new();
        for (package, triple) in targets(&workspace, &boards) {
            for program in package.targets.iter().filter(|target| target.is_bin()) {
                let other = programs.insert((triple.clone(), program.name.clone()), package.name.clone());
                let same = other.is_none_or(|other| other == package.name);
                assert!(same, "two packages have a program {} for {triple}", program.name);
            }
        }
    }
}
