//! The default guest's parts, downloaded from Debian once and kept outside the build directory.
//!
//! An entry appears by renaming a complete folder, so that an interrupted download leaves nothing half done.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::board::{Board, DeviceTree};
use crate::debian::{self, Apt};
use crate::workspace::{Workspace, cache};

const BUSYBOX: &str = "busybox-static";

/// Debian's kernel with the few modules that tests use.
pub(crate) struct Kernel {
    folder: PathBuf,
}

impl Kernel {
    /// The bootable image.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The modules: on x86 `/dev/cpu/N/cpuid` and `/dev/cpu/N/msr`.
    pub(crate) fn modules(&self) -> Result<Vec<PathBuf>> {
        let entries =
            fs::read_dir(&self.folder).with_context(|| format!("cannot read {}", self.folder.display()))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        let is_module = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "ko");
        let mut modules: Vec<_> = paths.into_iter().filter(is_module).collect();
        modules.sort();
        Ok(modules)
    }
}

/// A file to keep from a package: the end of its path there, or, with a final `-`, the beginning; its name here.
struct Keep {
    from: &'static str,
    to: &'static str,
}

const KERNEL_FILES_X86: &[Keep] = &[
    Keep { from: "boot/vmlinuz-", to: "vmlinuz" },
    Keep { from: "kernel/cpuid.ko", to: "cpuid.ko" },
    Keep { from: "kernel/msr.ko", to: "msr.ko" },
];
const KERNEL_FILES_ARM: &[Keep] = &[Keep { from: "boot/vmlinuz-", to: "vmlinuz" }];
/// The package with every driver, and what is kept of it: the boards' device trees too.
const GENERIC_ARM: &str = "linux-image-arm64";
const GENERIC_FILES_ARM: &[Keep] = &[
    Keep { from: "boot/vmlinuz-", to: "vmlinuz" },
    Keep { from: "xilinx/zynqmp-zcu102-rev1.0.dtb", to: "zynqmp-zcu102-rev1.0.dtb" },
    Keep { from: "broadcom/bcm2837-rpi-3-b.dtb", to: "bcm2837-rpi-3-b.dtb" },
    Keep { from: "broadcom/bcm2711-rpi-4-b.dtb", to: "bcm2711-rpi-4-b.dtb" },
];
const BUSYBOX_FILES: &[Keep] = &[Keep { from: "bin/busybox", to: "busybox" }];

/// The board's default kernel, fetched if need be; none where the board has none.
pub(crate) fn default_kernel(workspace: &Workspace, board: &Board) -> Result<Option<Kernel>> {
    let Some(payload) = &board.payload else { return Ok(None) };
    let folder = fetch(workspace, board, &payload.package, files_of(board, &payload.package))?;
    busybox(workspace, board)?;
    Ok(Some(Kernel { folder }))
}

/// A board's device tree, fetched if need be.
pub(super) fn device_tree(workspace: &Workspace, board: &Board, tree: &DeviceTree) -> Result<PathBuf> {
    let folder = fetch(workspace, board, &tree.package, files_of(board, &tree.package))?;
    let file = folder.join(&tree.file);
    if !file.is_file() {
        bail!(
            "the device tree {} is not kept of package {}; add it to the list in payload/cache.rs",
            tree.file,
            tree.package
        );
    }
    Ok(file)
}

/// What is kept of a kernel's package.
fn files_of(board: &Board, package: &str) -> &'static [Keep] {
    match board.architecture() {
        "x86_64" => KERNEL_FILES_X86,
        _ if package == GENERIC_ARM => GENERIC_FILES_ARM,
        _ => KERNEL_FILES_ARM,
    }
}

/// The static busybox of the default initramfs.
pub(crate) fn busybox(workspace: &Workspace, board: &Board) -> Result<PathBuf> {
    Ok(fetch(workspace, board, BUSYBOX, BUSYBOX_FILES)?.join("busybox"))
}

/// Drops a board's default guest from the cache, so that it is fetched anew.
pub(crate) fn forget(board: &Board) -> Result<()> {
    let kernel = board.payload.iter().map(|payload| payload.package.as_str());
    let tree = board.device_tree.iter().map(|tree| tree.package.as_str());
    for package in kernel.chain(tree).chain([BUSYBOX]) {
        let entry = entry(board, package)?;
        if entry.exists() {
            fs::remove_dir_all(&entry).with_context(|| format!("cannot remove {}", entry.display()))?;
        }
    }
    Ok(())
}

fn fetch(workspace: &Workspace, board: &Board, package: &str, files: &[Keep]) -> Result<PathBuf> {
    let entry = entry(board, package)?;
    if entry.is_dir() {
        return Ok(entry);
    }
    let cache = cache()?;
    let scratch = tempfile::tempdir_in(&cache).context("cannot write to the cache")?;
    let apt = Apt::of(&workspace.shell, board.debian_architecture()?, &cache)?;
    let concrete = apt.resolve(package)?;
    let archive = apt.download(&concrete, scratch.path())?;
    let (tree, complete) = (scratch.path().join("tree"), scratch.path().join("complete"));
    debian::unpack(&workspace.shell, &archive, &tree)?;
    pick(&tree, files, &complete).with_context(|| format!("package {concrete} is not as expected"))?;
    fs::write(complete.join("package"), format!("{}\n", file_name(&archive)))?;
    fs::rename(&complete, &entry).with_context(|| format!("cannot create {}", entry.display()))?;
    Ok(entry)
}

/// Where a package's files are kept.
fn entry(board: &Board, package: &str) -> Result<PathBuf> {
    Ok(cache()?.join(format!("{package}-{}", board.debian_architecture()?)))
}

/// Copies the wanted files of an unpacked package to `to`, which appears.
fn pick(tree: &Path, files: &[Keep], to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for keep in files {
        let wanted = |path: &Path| path.strip_prefix(tree).is_ok_and(|path| matches(path, keep.from));
        let Some(from) = find(tree, &wanted)? else { bail!("it has no {}", keep.from) };
        fs::copy(&from, to.join(keep.to)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

fn find(folder: &Path, wanted: &impl Fn(&Path) -> bool) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() && wanted(&entry.path()) {
            return Ok(Some(entry.path()));
        }
        if kind.is_dir()
            && let Some(found) = find(&entry.path(), wanted)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether `path`, relative to the package's root, is the one that `from` means.
fn matches(path: &Path, from: &str) -> bool {
    if from.ends_with('-') { path.to_string_lossy().starts_with(from) } else { path.ends_with(from) }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_files_are_found_at_any_depth_and_a_missing_one_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir_all(tree.join("boot")).unwrap();
        fs::write(tree.join("boot/vmlinuz-6.1"), "kernel").unwrap();
        let to = scratch.path().join("to");
        pick(&tree, &[Keep { from: "boot/vmlinuz-", to: "vmlinuz" }], &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("vmlinuz")).unwrap(), "kernel");
        let error =
            pick(&tree, &[Keep { from: "msr.ko", to: "msr.ko" }], &scratch.path().join("x")).unwrap_err();
        assert_eq!(error.to_string(), "it has no msr.ko");
    }

    #[test]
    fn only_a_final_dash_stands_for_a_version() {
        let matches = |path: &str, from| matches(Path::new(path), from);
        assert!(matches("boot/vmlinuz-6.1", "boot/vmlinuz-") && matches("usr/bin/busybox", "bin/busybox"));
        assert!(!matches("share/lintian/busybox", "bin/busybox") && !matches("sbin/busybox", "bin/busybox"));
    }
}
