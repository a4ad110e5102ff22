//! `cargo xtask setup`: brings the machine to where every other command works.
//!
//! The others call the same functions when they need something, so a user never has to know this command.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::board::{self, Board, Emulator, Need};
use crate::c_extensions;
use crate::cli::SetupOptions;
use crate::toolchain::{self, Toolchain};
use crate::workspace::Workspace;
use crate::{debian, emulator, payload};

/// Installs or fetches everything that one board, or all of them, need.
pub(crate) fn setup(workspace: &Workspace, options: &SetupOptions) -> Result<()> {
    for board in selected(workspace, options.board.as_deref())? {
        if options.refresh {
            payload::forget(&board)?;
        }
        prepare(workspace, &board)?;
    }
    toolchain::add_lint_tools(&workspace.shell)?;
    eprintln!("everything is here; try: cargo xtask run");
    Ok(())
}

fn prepare(workspace: &Workspace, board: &Board) -> Result<()> {
    for triple in [&board.triple, &board.loader_triple()] {
        Toolchain::for_target(&workspace.shell, triple)?;
    }
    c_extensions::setup(workspace, board.architecture())?;
    if board.emulator.is_some() {
        emulator(workspace, board)?;
    }
    loader(workspace, board)?;
    payload::default_kernel(workspace, board)?;
    Ok(())
}

/// The boards a command is about: the one named, or all.
pub(crate) fn selected(workspace: &Workspace, name: Option<&str>) -> Result<Vec<Board>> {
    let folder = workspace.root.join("boards");
    match name {
        Some(name) => Ok(vec![board::find(&folder, name)?]),
        None => board::all(&folder),
    }
}

/// Installs the board's emulator and firmware, and what its boot volume takes, where they are missing.
pub(crate) fn emulator(workspace: &Workspace, board: &Board) -> Result<()> {
    let emulator = board.emulator()?;
    install(workspace, &emulator.needs())?;
    if let Emulator::Qemu(qemu) = emulator {
        emulator::fetch(&workspace.shell, qemu)?;
    }
    loader(workspace, board)
}

/// Installs what it takes to write the board's boot volume.
pub(crate) fn loader(workspace: &Workspace, board: &Board) -> Result<()> {
    install(workspace, &board.loader.needs())
}

/// Installs the packages whose programs or files are not here.
fn install(workspace: &Workspace, needs: &[Need<'_>]) -> Result<()> {
    let missing = needs.iter().filter(|need| !is_here(need.what)).map(|need| need.package);
    let packages: BTreeSet<_> = missing.collect();
    if packages.is_empty() {
        return Ok(());
    }
    debian::install(&workspace.shell, &packages.into_iter().collect::<Vec<_>>())
}

/// A path is a file; a bare name is a program.
fn is_here(what: &Path) -> bool {
    if what.is_absolute() { what.is_file() } else { debian::has_program(&what.to_string_lossy()) }
}
