//! Turns what a user or a test wants to boot into a boot volume, in the way of the board's loader.

mod arm64_image;
mod multiboot2;
mod settings;
mod uefi;

use std::path::Path;

use anyhow::{Result, bail};

use crate::artifacts::Images;
use crate::board::{Board, Loader};
use crate::cli::BootOptions;
use crate::payload::{self, read};
use crate::volume::{Part, Volume};
use crate::workspace::Workspace;

/// The kernel's file on every volume.
const KERNEL: &str = Part::Kernel.name();
const INITRD: &str = Part::Initrd.name();
/// What the hypervisor keeps for itself, in MiB.
const MEMORY: u32 = 32;

/// What goes onto every volume, in whatever form.
struct Contents<'a> {
    board: &'a Board,
    images: &'a Images,
    options: &'a BootOptions,
    payload: Option<payload::Payload>,
    device_tree: Option<Vec<u8>>,
}

/// Puts the boot volume together.
pub(crate) fn volume(
    workspace: &Workspace,
    board: &Board,
    images: &Images,
    options: &BootOptions,
) -> Result<Volume> {
    if options.device_tree.is_some() && board.loader != Loader::Arm64Image {
        bail!("the loader {} takes no device tree of your own", board.loader.name());
    }
    let payload = payload::resolve(workspace, board, options)?;
    let device_tree = payload::device_tree(workspace, board)?;
    let contents = Contents { board, images, options, payload, device_tree };
    match board.loader {
        Loader::Uefi => uefi::volume(contents),
        Loader::Multiboot2 => multiboot2::volume(contents),
        Loader::Arm64Image => arm64_image::volume(contents),
    }
}

impl Contents<'_> {
    /// The extension's file.
    fn extension(&self) -> Result<Vec<u8>> {
        let file = self.extension_path();
        let content = read(file)?;
        if !content.starts_with(b"\x7fELF") {
            bail!("{} is not an ELF file; give the extension as its linker made it", file.display());
        }
        Ok(content)
    }

    fn extension_path(&self) -> &Path {
        self.options.extension.as_deref().unwrap_or(&self.images.extension)
    }

    /// What runs as the root VM, for a loader that can only start what it is given.
    fn required_payload(&mut self) -> Result<payload::Payload> {
        match self.payload.take() {
            Some(payload) => Ok(payload),
            None => bail!(
                "board {} has no default payload, and its loader starts nothing else; give one with --payload FILE",
                self.board.name
            ),
        }
    }
}
