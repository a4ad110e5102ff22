//! Debian's package manager: what is installed from it, and what is only downloaded.
//!
//! Root may install. Anybody else gets the exact command to hand to somebody who may.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::progress::Step;

/// Waits for another package manager instead of failing, in seconds.
const LOCK: &str = "DPkg::Lock::Timeout=300";

/// Whether `program` is on the search path.
pub(crate) fn has_program(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Installs packages, or says how.
pub(crate) fn install(shell: &Shell, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !has_program("apt-get") {
        bail!("this needs what Debian packages as: {list}. Install it with your system's package manager");
    }
    if !is_root() {
        let command = format!("apt-get install --yes --no-install-recommends {list}");
        bail!("{list} must be installed, and only root may; run:\n  sudo apt-get update && sudo {command}");
    }
    know(shell, packages)?;
    let step = Step::new(format!("installing {list}"));
    let command = cmd!(shell, "apt-get install --yes --no-install-recommends -o {LOCK} {packages...}");
    quietly(command.env("DEBIAN_FRONTEND", "noninteractive"))?;
    step.done();
    Ok(())
}

/// The concrete package behind a meta-package such as `linux-image-cloud-amd64`; others stand for themselves.
pub(crate) fn resolve(shell: &Shell, package: &str) -> Result<String> {
    know(shell, &[package])?;
    let depends = cmd!(shell, "apt-cache depends --important {package}").quiet().read()?;
    Ok(image_dependency(&depends).unwrap_or(package).to_owned())
}

/// The versioned kernel in the output of `apt-cache depends`.
fn image_dependency(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
}

/// Downloads a package into `folder`, without installing it; the path of the `.deb`.
pub(crate) fn download(package: &str, folder: &Path) -> Result<PathBuf> {
    let shell = shell_in(folder)?;
    let uris = cmd!(shell, "apt-get download --print-uris {package}").quiet().read()?;
    let (name, size) =
        file_and_size(&uris).with_context(|| format!("apt-get knows no file for {package}: {uris:?}"))?;
    let path = folder.join(name);
    let step = Step::bytes(format!("downloading {package}"), size);
    std::thread::scope(|scope| {
        let download = scope.spawn(|| {
            let shell = shell_in(folder)?;
            quietly(cmd!(shell, "apt-get download {package}"))
        });
        while !download.is_finished() {
            step.at(fs::metadata(&path).map_or(0, |file| file.len()));
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        download.join().unwrap_or_else(|_| bail!("the download of {package} ended unexpectedly"))
    })?;
    step.done();
    Ok(path)
}

fn shell_in(folder: &Path) -> Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(folder);
    Ok(shell)
}

/// `'URI' NAME SIZE HASH`, as `--print-uris` writes it.
fn file_and_size(uris: &str) -> Option<(&str, u64)> {
    let mut words = uris.lines().last()?.split_whitespace().skip(1);
    Some((words.next()?, words.next()?.parse().ok()?))
}

/// Unpacks a `.deb` into `folder`.
pub(crate) fn unpack(shell: &Shell, package: &Path, folder: &Path) -> Result<()> {
    quietly(cmd!(shell, "dpkg-deb -x {package} {folder}"))
}

/// Makes sure that apt knows the packages, updating its lists when it does not.
fn know(shell: &Shell, packages: &[&str]) -> Result<()> {
    if !has_program("apt-get") {
        bail!(
            "the default guest comes from Debian's packages, and there is no apt-get; name one with --payload FILE"
        );
    }
    if packages.iter().all(|package| is_known(shell, package)) {
        return Ok(());
    }
    if !is_root() {
        bail!("apt knows no {}; only root may update its lists: sudo apt-get update", packages.join(", "));
    }
    let step = Step::new("updating apt's package lists");
    quietly(cmd!(shell, "apt-get update -o {LOCK}"))?;
    step.done();
    match packages.iter().find(|package| !is_known(shell, package)) {
        Some(package) => {
            bail!("apt knows no package {package}, even after an update; check /etc/apt/sources.list")
        }
        None => Ok(()),
    }
}

fn is_known(shell: &Shell, package: &str) -> bool {
    let policy = cmd!(shell, "apt-cache policy {package}").env("LC_ALL", "C").quiet().ignore_stderr().read();
    policy.is_ok_and(|text| {
        text.lines().any(|line| line.trim_start().starts_with("Candidate:") && !line.contains("(none)"))
    })
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Runs a command that is only worth reading when it fails.
fn quietly(command: xshell::Cmd<'_>) -> Result<()> {
    let text = command.to_string();
    let output = command.quiet().ignore_status().output().with_context(|| format!("cannot run {text}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    bail!("`{text}` failed ({}):\n{stdout}{stderr}", output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_package_leads_to_the_versioned_kernel() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(image_dependency(depends), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(image_dependency("busybox-static\n  Depends: libc6\n"), None);
    }

    #[test]
    fn name_and_size_are_read_from_the_uri_list() {
        assert_eq!(file_and_size("'http://x/a_1.deb' a_1.deb 267 SHA256:e7d\n"), Some(("a_1.deb", 267)));
        assert_eq!(file_and_size(""), None);
    }
}
