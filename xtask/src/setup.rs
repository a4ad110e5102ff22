//! `cargo xtask setup`: brings the machine to where every other command works.
//!
//! The others call the same functions when they need something, so a user never has to know this command.

use anyhow::Result;

use crate::board::{self, Board, Emulator};
use crate::c_extensions;
use crate::cli::SetupOptions;
use crate::toolchain::{self, Toolchain};
use crate::workspace::Workspace;
use crate::{debian, payload};

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
    for triple in [&board.triple, &board.firmware_triple()] {
        Toolchain::for_target(&workspace.shell, triple)?;
    }
    c_extensions::setup(workspace, board.architecture())?;
    if board.emulator.is_some() {
        emulator(workspace, board)?;
    }
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

/// Installs the board's emulator and firmware where they are missing.
pub(crate) fn emulator(workspace: &Workspace, board: &Board) -> Result<()> {
    let packages = missing(board.emulator()?);
    if packages.is_empty() { Ok(()) } else { debian::install(&workspace.shell, &packages) }
}

/// The packages whose files are not here.
fn missing(emulator: &Emulator) -> Vec<&str> {
    let firmware = &emulator.firmware;
    let needs = [
        (debian::has_program(&emulator.program), emulator.package.as_str()),
        (firmware.code.is_file() && firmware.variables.is_file(), firmware.package.as_str()),
    ];
    needs.iter().filter(|(here, _)| !here).map(|&(_, package)| package).collect()
}
