//! A Debian system as a person has it: made from Debian's packages, with a package of ours installed by `dpkg`, and put on
//! a disk that an emulator boots from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::Shell;

use super::root::{Root, as_root};
use super::{need, quietly};
use crate::progress::Step;

/// What a machine has on which somebody installs a DKMS package: kernel, headers, systemd.
const ROOT: Root = Root {
    name: "dkms",
    suites: &["bookworm", "bookworm-security"],
    packages: "linux-image-cloud-amd64,linux-headers-cloud-amd64,dkms,systemd-sysv,udev,kmod,initramfs-tools",
    size: 600,
};
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
        let base = ROOT.archive(shell)?;
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
