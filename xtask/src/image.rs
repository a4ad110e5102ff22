//! `cargo xtask image`: a board's boot volume, for a stick, a disk, a CD or a boot loader.

use anyhow::Result;

use crate::board::Loader;
use crate::cli::ImageOptions;
use crate::volume::Medium;
use crate::workspace::Workspace;
use crate::{artifacts, board, boot, setup};

/// Makes the folder and the image.
pub(crate) fn image(workspace: &Workspace, options: &ImageOptions) -> Result<()> {
    let board = board::find(&workspace.root.join("boards"), &options.board)?;
    setup::loader(workspace, &board)?;
    let images = artifacts::build(workspace, &board)?;
    let volume = boot::volume(workspace, &board, &images, &options.boot)?;
    let output = match &options.output {
        Some(folder) => std::path::absolute(folder)?,
        None => workspace.output("image")?.join(&board.name),
    };
    std::fs::create_dir_all(&output)?;
    let folder = output.join("volume");
    volume.write_folder(&folder)?;
    let file = match volume.write(&output)? {
        Medium::Disk(file) | Medium::Cd(file) | Medium::Kernel { image: file, .. } => file,
    };
    println!("folder  {}\nimage   {}", folder.display(), file.display());
    if board.emulator.is_none() && board.loader == Loader::Uefi {
        eprintln!(
            "Copy the folder's content to a FAT-formatted stick, or write the image to a whole stick (which erases it),\n\
             switch Secure Boot off, and choose the stick in the firmware's boot menu."
        );
    }
    Ok(())
}
