//! Builds what a package holds, in a build directory of its own: without the paths of this machine, and without symbols.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use super::{Machine, Source};
use crate::linux_programs::LinuxTarget;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The programs of a package.
pub(super) struct Programs {
    /// The kernel's ELF file.
    pub(super) kernel: PathBuf,
    /// The extensions' ELF files.
    pub(super) extensions: Vec<PathBuf>,
    /// `vmmctl`.
    pub(super) vmmctl: PathBuf,
}

pub(super) fn build(source: &Source<'_>) -> Result<Programs> {
    let workspace = source.workspace;
    let (triple, kernel) = source.machine.freestanding();
    let packages = workspace.packages_in("extensions");
    let mut names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    names.push(kernel);
    compile(workspace, triple, &names, &[])?;
    let folder = output(workspace, triple)?;
    let programs = packages.iter().flat_map(|package| &package.targets);
    let extensions =
        programs.filter(|target| target.is_bin()).map(|target| folder.join(&target.name)).collect();
    Ok(Programs { kernel: folder.join("plinth"), extensions, vmmctl: vmmctl(workspace, source.machine)? })
}

/// Builds `vmmctl`, with its libraries in it.
pub(crate) fn vmmctl(workspace: &Workspace, machine: Machine) -> Result<PathBuf> {
    let target = LinuxTarget::of(&workspace.shell, machine.architecture())?;
    let options: Vec<_> = target.options.iter().map(String::as_str).collect();
    compile(workspace, &target.triple, &["vmmctl"], &options)?;
    Ok(target.file(&build_folder(workspace)?, "vmmctl"))
}

fn build_folder(workspace: &Workspace) -> Result<PathBuf> {
    workspace.output("package-build")
}

fn output(workspace: &Workspace, triple: &str) -> Result<PathBuf> {
    Ok(build_folder(workspace)?.join(triple).join("release"))
}

fn compile(workspace: &Workspace, triple: &str, packages: &[&str], options: &[&str]) -> Result<()> {
    let toolchain = Toolchain::for_target(&workspace.shell, triple)?;
    let folder = build_folder(workspace)?;
    let selection = packages.iter().flat_map(|package| ["--package", package]);
    // Added to the target's own flags.
    let flags = format!("target.{triple}.rustflags=[{}]", remap(workspace)?);
    let cargo = toolchain.cargo(&workspace.shell, "build", triple);
    let cargo = cargo.arg("--release").arg("--locked").arg("--target-dir").arg(&folder).args(selection);
    let cargo = cargo.args(["--config", &flags, "--config", "profile.release.strip='symbols'"]).args(options);
    cargo.quiet().run().with_context(|| format!("{} did not build for {triple}", packages.join(" or ")))
}

/// Gives every source file a name that is the same on every machine.
fn remap(workspace: &Workspace) -> Result<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let sysroot = PathBuf::from(cmd!(workspace.shell, "rustc --print sysroot").quiet().read()?);
    let mut prefixes = vec![(workspace.root.clone(), "/plinth"), (sysroot, "/rust")];
    prefixes.extend(home.map(|home| (home, "/cargo")));
    let flags = prefixes.iter().map(|(from, to)| format!("'--remap-path-prefix={}={to}'", from.display()));
    Ok(flags.collect::<Vec<_>>().join(","))
}

/// Copies a program to its place, as a file that everybody may run.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
