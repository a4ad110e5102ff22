//! Turns what a user or a test wants to boot into a boot volume.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::artifacts::Images;
use crate::board::Board;
use crate::cli::BootOptions;
use crate::payload::{self, Payload, read};
use crate::volume::{Config, Volume};
use crate::workspace::Workspace;

/// The folder that firmware looks into for a loader, and the loader for its files.
pub(crate) const FOLDER: &str = "EFI/BOOT";
/// The loader's own settings.
pub(crate) const CONFIG: &str = "plinth.toml";
const KERNEL: &str = "plinth";
const INITRD: &str = "initrd.img";
/// What the hypervisor keeps for itself, in MiB.
const MEMORY: i64 = 32;

/// Puts the boot volume together.
pub(crate) fn volume(
    workspace: &Workspace,
    board: &Board,
    images: &Images,
    options: &BootOptions,
) -> Result<Volume> {
    let mut volume = Volume::default();
    let mut config = Config::default();
    add(&mut volume, default_loader_name(board)?, read(&images.loader)?)?;
    add(&mut volume, KERNEL, read(&images.kernel)?)?;
    config.set("kernel", KERNEL);
    config.set("log", "info");
    config.set("memory", MEMORY);
    config.set("launch", !options.bare);
    add_extension(&mut volume, &mut config, options.extension.as_deref().unwrap_or(&images.extension))?;
    if let Some(payload) = payload::resolve(workspace, board, options)? {
        add_payload(&mut volume, &mut config, payload)?;
    }
    for line in &options.settings {
        config.set_line(line)?;
    }
    add(&mut volume, CONFIG, config.into_bytes())?;
    Ok(volume)
}

/// A file's path on the volume.
pub(crate) fn path(name: &str) -> String {
    format!("{FOLDER}/{name}")
}

fn add(volume: &mut Volume, name: &str, content: Vec<u8>) -> Result<()> {
    volume.add(path(name), content)
}

fn add_extension(volume: &mut Volume, config: &mut Config, file: &Path) -> Result<()> {
    let content = read(file)?;
    if !content.starts_with(b"\x7fELF") {
        bail!("{} is not an ELF file; give the extension as its linker made it", file.display());
    }
    let name = file.file_name().and_then(|name| name.to_str());
    let name =
        name.with_context(|| format!("{} has no name that FAT can hold; rename it", file.display()))?;
    config.set("extension", name);
    add(volume, name, content)
}

fn add_payload(volume: &mut Volume, config: &mut Config, payload: Payload) -> Result<()> {
    config.set("next", payload.name);
    if !payload.command_line.is_empty() {
        config.set("cmdline", payload.command_line);
    }
    if let Some(initrd) = payload.initrd {
        config.set("initrd", INITRD);
        add(volume, INITRD, initrd)?;
    }
    add(volume, payload.name, payload.image)
}

/// The name that firmware starts without being told (UEFI 2.10, section 3.5.1.1).
fn default_loader_name(board: &Board) -> Result<&'static str> {
    match board.architecture() {
        "x86_64" => Ok("BOOTX64.EFI"),
        "aarch64" => Ok("BOOTAA64.EFI"),
        other => {
            bail!("board {}: UEFI has no default loader name for {other}; correct its triple", board.name)
        }
    }
}
