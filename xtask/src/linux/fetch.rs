//! Fetches a Linux version's packages into the cache: all of one build, since a module is for one build of the kernel.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::Shell;

use super::Linux;
use crate::debian::{self, Apt};
use crate::workspace::cache;

/// The modules that tests load; those that a version has built in are not there.
const MODULES: &[&str] = &["cpuid", "msr", "irqbypass", "ccp", "kvm", "kvm-amd", "kvm-intel"];

/// A fetched version.
pub(crate) struct Fetched {
    folder: PathBuf,
}

impl Fetched {
    /// The bootable image.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// A module of its own.
    pub(crate) fn module(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.ko"))
    }

    /// Where modules are built: the folder with the kernel's configuration.
    pub(super) fn headers(&self, linux: &Linux) -> Result<PathBuf> {
        let sources = self.folder.join("root/usr/src");
        let is_configured = |path: &PathBuf| {
            path.to_string_lossy().ends_with(&format!("-{}", linux.kind())) && path.join("Makefile").is_file()
        };
        entries(&sources)?
            .into_iter()
            .find(is_configured)
            .with_context(|| format!("{} has no headers for {}", sources.display(), linux.kind()))
    }
}

impl Linux {
    /// The end of every package's name: the kernel's configuration and machine.
    fn kind(&self) -> &str {
        self.flavour.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-')
    }

    /// Fetches this version's packages, unless the cache has them.
    pub(crate) fn fetch(&self, shell: &Shell) -> Result<Fetched> {
        let cache = cache()?;
        let folder = cache.join(format!("linux-{}-{}", self.name, self.architecture));
        if !self.is_complete(&folder) {
            remove(&folder)?;
            let scratch = tempfile::tempdir_in(&cache).context("cannot write to the cache")?;
            let complete = self.complete(shell, scratch.path(), &folder)?;
            fs::rename(&complete, &folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(Fetched { folder })
    }

    /// Whether the cache's entry has all that is wanted now: one that was made when no test booted this version has no kernel.
    fn is_complete(&self, folder: &Path) -> bool {
        folder.is_dir() && (!self.boots || folder.join("vmlinuz").is_file())
    }

    /// Makes the entry in `scratch`, as it will lie in `folder`.
    fn complete(&self, shell: &Shell, scratch: &Path, folder: &Path) -> Result<PathBuf> {
        let complete = scratch.join("complete");
        let root = complete.join("root");
        fs::create_dir_all(&root)?;
        let own = self.apt(shell, self.architecture)?;
        let tools = self.apt(shell, &debian::native_architecture(shell)?)?;
        let headers = concrete(&own, &format!("linux-headers-{}", self.flavour))?;
        let mut packages = vec![(&own, headers.clone())];
        for package in own.depends(&headers)? {
            if package.ends_with("-common") {
                packages.push((&own, package));
            } else if package.starts_with("linux-kbuild-") {
                // Programs that run here.
                packages.push((&tools, package));
            }
        }
        for (apt, package) in &packages {
            debian::unpack(shell, &apt.download(package, scratch)?, &root)?;
        }
        relocate(&root, &folder.join("root"), self.kind())?;
        if self.boots {
            let image = headers.replace("linux-headers-", "linux-image-");
            let tree = scratch.join("image");
            debian::unpack(shell, &own.download(&image, scratch)?, &tree)?;
            pick(shell, &tree, &complete).with_context(|| format!("package {image} is not as expected"))?;
        }
        Ok(complete)
    }

    fn apt<'a>(&self, shell: &'a Shell, architecture: &str) -> Result<Apt<'a>> {
        let folder = cache()?.join(format!("apt-{}-{architecture}", self.suites.join("-")));
        Apt::suites(shell, architecture, &folder, self.suites)?.with_context(|| {
            format!("Linux {} comes from Debian's packages, and this machine has no such source", self.name)
        })
    }
}

/// Drops an entry of the cache, if there is one.
fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// The versioned package behind a meta-package.
fn concrete(apt: &Apt<'_>, meta: &str) -> Result<String> {
    apt.know(&[meta])?;
    let depends = apt.depends(meta)?;
    let found = depends.into_iter().find(|package| package.starts_with("linux-headers-"));
    found.with_context(|| format!("package {meta} leads to no headers"))
}

/// The packages' one absolute path, of the Makefile that is shared by all configurations, is made to fit.
fn relocate(root: &Path, place: &Path, kind: &str) -> Result<()> {
    let is_configured = |path: &PathBuf| path.to_string_lossy().ends_with(&format!("-{kind}"));
    for folder in entries(&root.join("usr/src"))?.into_iter().filter(is_configured) {
        let makefile = folder.join("Makefile");
        let text =
            fs::read_to_string(&makefile).with_context(|| format!("cannot read {}", makefile.display()))?;
        let sources = format!("{}/", place.join("usr/src").display());
        fs::write(&makefile, text.replace("/usr/src/", &sources))?;
    }
    Ok(())
}

/// Takes the kernel and the modules that tests use.
fn pick(shell: &Shell, tree: &Path, to: &Path) -> Result<()> {
    let kernel = entries(&tree.join("boot"))?
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
    let Some(kernel) = kernel else { bail!("it has no kernel in /boot") };
    fs::copy(kernel, to.join("vmlinuz"))?;
    let mut files = Vec::new();
    walk(&tree.join("lib/modules"), &mut files)?;
    for name in MODULES {
        let is_it = |path: &&PathBuf| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file == format!("{name}.ko") || file == format!("{name}.ko.xz")
        };
        let Some(from) = files.iter().find(is_it) else { continue };
        let target = to.join(format!("{name}.ko"));
        if from.extension().is_some_and(|extension| extension == "xz") {
            debian::need(shell, &[("xz", "xz-utils")])?;
            let bytes = xshell::cmd!(shell, "xz --decompress --stdout {from}").quiet().output()?.stdout;
            fs::write(&target, bytes)?;
        } else {
            fs::copy(from, &target)?;
        }
    }
    Ok(())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(folder)? {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::super::ALL;
    use super::*;

    #[test]
    fn a_flavour_without_its_version_is_the_end_of_the_packages_names() {
        let kinds: Vec<_> = ALL.iter().map(Linux::kind).collect();
        assert!(kinds.iter().all(|kind| kind.starts_with("cloud-")), "{kinds:?}");
    }

    #[test]
    fn an_entry_without_the_kernel_that_a_test_boots_is_not_complete() {
        let scratch = tempfile::tempdir().unwrap();
        let whole: Vec<_> =
            ALL.iter().map(|linux| linux.is_complete(scratch.path()) != linux.boots).collect();
        assert!(whole.iter().all(|right| *right));
        fs::write(scratch.path().join("vmlinuz"), "").unwrap();
        assert!(ALL.iter().all(|linux| linux.is_complete(scratch.path())));
        remove(scratch.path()).unwrap();
        assert!(ALL.iter().all(|linux| !linux.is_complete(scratch.path())));
    }

    #[test]
    fn the_shared_makefile_is_found_in_the_cache() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("usr/src/linux-headers-6.1.0-57-cloud-amd64");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("Makefile"), "include /usr/src/linux-headers-6.1.0-57-common/Makefile\n")
            .unwrap();
        relocate(scratch.path(), Path::new("/cache/root"), "cloud-amd64").unwrap();
        let text = fs::read_to_string(folder.join("Makefile")).unwrap();
        assert_eq!(text, "include /cache/root/usr/src/linux-headers-6.1.0-57-common/Makefile\n");
    }
}
