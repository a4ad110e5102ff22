//! A Debian system as a person has it: made from Debian's packages, with a package of ours installed by `dpkg`, and put on
//! a disk that an emulator boots from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::{Cmd, Shell, cmd};

use super::apt::{native_architecture, sources};
use super::{is_root, need, quietly};
use crate::progress::Step;
use crate::workspace::cache;

/// The release.
const RELEASE: &str = "bookworm";
/// Where its packages come from.
const SUITES: &[&str] = &["bookworm", "bookworm-security"];
/// The machine. Programs of the system run here while the package is installed.
const ARCHITECTURE: &str = "amd64";
/// What a machine has on which somebody installs a DKMS package: kernel, headers, systemd.
const PACKAGES: &str =
    "linux-image-cloud-amd64,linux-headers-cloud-amd64,dkms,systemd-sysv,udev,kmod,initramfs-tools";
/// Unpacks, installs, adds the test, and makes the disk.
const INSTALL: &str = include_str!("../../data/debian/install.sh");
/// The test and its service.
const TEST: &str = include_str!("../../data/debian/test.sh");
const SERVICE: &str = include_str!("../../data/debian/test.service");

/// A system on a disk.
pub(crate) struct System {
    folder: PathBuf,
}

impl System {
    /// The one in `folder`, which [`System::install`] made.
    pub(crate) const fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The kernel's image.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Its initial RAM disk.
    pub(crate) fn initrd(&self) -> PathBuf {
        self.folder.join("initrd.img")
    }

    /// The disk, which holds one ext4 file system.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// Makes one in `folder` in which `package` is installed and the test runs at the end of the boot.
    pub(crate) fn install(shell: &Shell, package: &Path, folder: &Path) -> Result<Self> {
        need(shell, &[("mke2fs", "e2fsprogs")])?;
        let base = base(shell)?;
        let parts = tempfile::tempdir()?;
        for (name, content) in [("install", INSTALL), ("test", TEST), ("service", SERVICE)] {
            fs::write(parts.path().join(name), content)?;
        }
        let (parts, tree) = (parts.path(), folder.join("tree"));
        let step = Step::new("installing the package into a Debian system");
        let script = ["sh".into(), parts.join("install").into_os_string()];
        let files = [&base, package, parts, &tree, folder].map(|path| path.as_os_str().to_owned());
        let installed = quietly(as_root(shell).args(script).args(files));
        step.done();
        installed.context("the package does not install into a Debian system")?;
        Ok(Self::in_folder(folder.to_owned()))
    }
}

/// The system without the package, an archive in the cache.
fn base(shell: &Shell) -> Result<PathBuf> {
    let native = native_architecture(shell)?;
    if native != ARCHITECTURE {
        bail!(
            "the Debian system of this test is for {ARCHITECTURE}, and its programs do not run on {native}"
        );
    }
    let cache = cache()?;
    let archive = cache.join(format!("debian-{RELEASE}-{ARCHITECTURE}.tar"));
    if archive.is_file() {
        return Ok(archive);
    }
    need(shell, &[("mmdebstrap", "mmdebstrap")])?;
    let scratch = tempfile::tempdir_in(&cache).context("cannot write to the cache")?;
    let list = scratch.path().join("sources.list");
    let sources = sources(shell, SUITES)?.context("this machine has no source of Debian's packages")?;
    fs::write(&list, sources)?;
    let made = scratch.path().join("system.tar");
    let mode = if is_root() { "root" } else { "unshare" };
    let step = Step::new(format!(
        "making a Debian system from its packages (600 MB, once, into {})",
        cache.display()
    ));
    quietly(cmd!(
        shell,
        "mmdebstrap --mode={mode} --variant=minbase --architectures={ARCHITECTURE} --include={PACKAGES} {RELEASE} {made} {list}"
    ))?;
    step.done();
    fs::rename(&made, &archive).with_context(|| format!("cannot create {}", archive.display()))?;
    Ok(archive)
}

/// A command that runs as root, of this machine or of a user namespace of its own, where files may have any owner.
fn as_root(shell: &Shell) -> Cmd<'_> {
    if is_root() { cmd!(shell, "env") } else { cmd!(shell, "unshare --map-root-user --map-auto --mount --") }
}
