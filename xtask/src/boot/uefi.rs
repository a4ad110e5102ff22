//! The volume of `loaders/uefi`: the loader where firmware looks for it, and `plinth.toml` beside it.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Contents, INITRD, KERNEL, MEMORY};
use crate::board::Board;
use crate::payload::{Payload, read};
use crate::volume::{Config, Format, Volume};

/// The loader's own settings.
const CONFIG: &str = "plinth.toml";

pub(super) fn volume(mut contents: Contents<'_>) -> Result<Volume> {
    let mut volume = Volume::new(Format::Fat);
    let mut config = Config::default();
    volume.add(default_loader_name(contents.board)?, read(&contents.images.loader)?)?;
    volume.add(KERNEL, read(&contents.images.kernel)?)?;
    config.set("kernel", KERNEL);
    config.set("log", "info");
    config.set("memory", i64::from(MEMORY));
    config.set("launch", !contents.options.bare);
    let extension = file_name(contents.extension_path())?;
    config.set("extension", extension);
    volume.add(extension, contents.extension()?)?;
    if let Some(payload) = contents.payload.take() {
        add_payload(&mut volume, &mut config, payload)?;
    }
    for line in &contents.options.settings {
        config.set_line(line)?;
    }
    volume.add(CONFIG, config.into_bytes())?;
    Ok(volume)
}

fn file_name(file: &Path) -> Result<&str> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.with_context(|| format!("{} has no name that FAT can hold; rename it", file.display()))
}

fn add_payload(volume: &mut Volume, config: &mut Config, payload: Payload) -> Result<()> {
    config.set("next", payload.name);
    if !payload.command_line.is_empty() {
        config.set("cmdline", payload.command_line);
    }
    if let Some(initrd) = payload.initrd {
        config.set("initrd", INITRD);
        volume.add(INITRD, initrd)?;
    }
    volume.add(payload.name, payload.image)
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
