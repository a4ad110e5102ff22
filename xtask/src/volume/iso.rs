//! Makes a CD that a BIOS PC boots GRUB from, by GRUB's own tool.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Where GRUB looks for its configuration, below the volume's folder.
pub(crate) const GRUB_CONFIG: &str = "grub/grub.cfg";
/// All that GRUB is to bring: the CD stays below a MiB without its modules for other machines.
const MODULES: &str = "normal multiboot multiboot2 linux serial iso9660 biosdisk terminal";

/// Writes the files below `tree` as a CD's image at `path`.
pub(super) fn write(path: &Path, tree: &Path) -> Result<()> {
    let mut command = Command::new("grub-mkrescue");
    command.args(["--locales=", "--fonts=", "--themes=", &format!("--install-modules={MODULES}"), "-o"]);
    command.arg(path).arg(tree);
    let output = command.output().context("cannot run grub-mkrescue; try `cargo xtask setup`")?;
    if !output.status.success() {
        bail!("grub-mkrescue failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
