//! The Debian package itself: what it is called, what it needs, what runs when it comes and goes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use super::Source;
use super::tree::write;
use crate::debian;

const POSTINST: &str = include_str!("../../data/package/postinst.sh");
const PRERM: &str = include_str!("../../data/package/prerm.sh");
const POSTRM: &str = include_str!("../../data/package/postrm.sh");

/// Files of the package that are programs; all others are data.
const PROGRAMS: [&str; 5] = [
    "usr/sbin/vmmctl",
    "lib/systemd/system-sleep/plinth",
    "DEBIAN/postinst",
    "DEBIAN/prerm",
    "DEBIAN/postrm",
];

/// Packs the tree at `root` into a file in `folder`.
pub(super) fn pack(source: &Source<'_>, root: &Path, folder: &Path) -> Result<PathBuf> {
    let shell = &source.workspace.shell;
    debian::need(shell, &[("dpkg-deb", "dpkg")])?;
    let fill = |text: &str| text.replace("@VERSION@", &source.version);
    let size = bytes_below(root)?.div_ceil(1024);
    write(root, "DEBIAN/control", control(source, size).as_bytes())?;
    write(root, "DEBIAN/conffiles", b"/etc/default/plinth\n")?;
    write(root, "DEBIAN/postinst", fill(POSTINST).as_bytes())?;
    write(root, "DEBIAN/prerm", fill(PRERM).as_bytes())?;
    write(root, "DEBIAN/postrm", fill(POSTRM).as_bytes())?;
    set_modes(root, root)?;
    let package = folder.join(format!("plinth_{}_{}.deb", source.version, source.machine.debian()));
    let time = source.time.to_string();
    let pack = cmd!(shell, "dpkg-deb --root-owner-group -Zxz --build {root} {package}");
    pack.env("SOURCE_DATE_EPOCH", time).quiet().ignore_stdout().run().context("dpkg-deb")?;
    Ok(package)
}

fn control(source: &Source<'_>, kibibytes: u64) -> String {
    format!(
        "Package: plinth
Version: {}
Architecture: {}
Maintainer: Plinth maintainers <maintainers@plinth.invalid>
Installed-Size: {kibibytes}
Depends: dkms (>= 3.0), kmod
Recommends: systemd
Section: kernel
Priority: optional
Homepage: https://github.com/plinth-hypervisor/plinth
Description: microkernel hypervisor that slides under a running Linux
 Launches the Plinth hypervisor below the Linux that runs, gives the machine
 back, and shows what happens in between: the tool vmmctl, the Linux module for
 DKMS, the kernel, and the extensions that ship with it.
",
        source.version,
        source.machine.debian(),
    )
}

/// The same modes whatever the umask is.
fn set_modes(root: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_program = PROGRAMS.iter().any(|program| path == root.join(program));
        let mode = if path.is_dir() || is_program { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if path.is_dir() {
            set_modes(root, &path)?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(Into::into)
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        sum += if path.is_dir() { bytes_below(&path)? } else { path.metadata()?.len() };
    }
    Ok(sum)
}
