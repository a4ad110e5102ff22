//! `cargo xtask image`: a board's boot volume, for a stick or a disk.

use anyhow::Result;

use crate::cli::ImageOptions;
use crate::workspace::Workspace;
use crate::{artifacts, board, boot};

/// Makes the folder and the FAT image.
pub(crate) fn image(workspace: &Workspace, options: &ImageOptions) -> Result<()> {
    let board = board::find(&workspace.root.join("boards"), &options.board)?;
    let images = artifacts::build(workspace, &board)?;
    let volume = boot::volume(workspace, &board, &images, &options.boot)?;
    let output = match &options.output {
        Some(folder) => std::path::absolute(folder)?,
        None => workspace.output("image")?.join(&board.name),
    };
    std::fs::create_dir_all(&output)?;
    let (folder, file) = (output.join("volume"), output.join("volume.img"));
    volume.write_folder(&folder)?;
    volume.write_fat(&file)?;
    println!("folder  {}\nimage   {}", folder.display(), file.display());
    if board.emulator.is_none() {
        eprintln!(
            "Copy the folder's content to a FAT-formatted stick, or write the image to a whole stick (which erases it),\n\
             switch Secure Boot off, and choose the stick in the firmware's boot menu."
        );
    }
    Ok(())
}
