//! `cargo xtask boards`: what there is to boot on.

use anyhow::Result;

use crate::board::{self, Board};
use crate::workspace::Workspace;

/// Prints every board.
pub(crate) fn list(workspace: &Workspace) -> Result<()> {
    for board in board::all(&workspace.root.join("boards"))? {
        print!("{}", describe(&board));
    }
    Ok(())
}

fn describe(board: &Board) -> String {
    let fields = [
        ("triple", board.triple.clone()),
        ("loader", board.loader.name().to_owned()),
        ("console", board.console.clone()),
        ("emulator", emulator(board)),
        ("tested", board.tested.join("; ")),
    ];
    let mut text = format!("{}\n  {}\n", board.name, board.description);
    for (name, value) in fields {
        text += &format!("  {name:9} {value}\n");
    }
    text + "\n"
}

fn emulator(board: &Board) -> String {
    match &board.emulator {
        None => format!("none; `cargo xtask image --board {}` makes what it boots from", board.name),
        Some(emulator) => emulator.describe(),
    }
}
