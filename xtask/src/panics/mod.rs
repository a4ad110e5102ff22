//! `cargo xtask panics`: no panic of the kernel is in reach of a guest, an extension or a table of the machine.
//!
//! Whatever can panic passes the panic handler a `core::panic::Location`: file, line and column. The compiler leaves out
//! the ones of checks that it can prove, so the locations that are left in a linked kernel image are all the places where
//! it can panic. Each one needs a reason: in a `// PANIC:` comment right above the statement, or for code of other crates in
//! `xtask/data/panics.toml`.

mod justified;
mod locations;

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};

use self::justified::Reasons;
use self::locations::Location;
use crate::artifacts;
use crate::board;
use crate::workspace::Workspace;

/// Builds every kernel image and checks each.
///
/// # Errors
/// A place without a reason, or a reason without a place; all of them are printed.
pub(crate) fn panics(workspace: &Workspace) -> Result<()> {
    let mut found = BTreeSet::new();
    let mut images = BTreeSet::new();
    for board in board::all(&workspace.root.join("boards"))? {
        if images.insert((board.kernel.clone(), board.triple.clone())) {
            let image = artifacts::kernel(workspace, &board)?;
            let bytes = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
            let here = locations::of_image(&bytes).with_context(|| format!("{}", image.display()))?;
            found.extend(here);
        }
    }
    report(workspace, &found)
}

fn report(workspace: &Workspace, found: &BTreeSet<Location>) -> Result<()> {
    let reasons = Reasons::read(workspace)?;
    let mut open = reasons.without_a_place(found);
    for location in found.iter().filter(|location| !reasons.justify(location)) {
        open.push(format!(
            "{location}: this can panic; make it an error, or say above in // PANIC: why it cannot happen"
        ));
    }
    for line in &open {
        println!("{line}");
    }
    if open.is_empty() {
        println!("{} places can panic, each with its reason", found.len());
        return Ok(());
    }
    bail!("{} of {} places where the kernel can panic want a reason, named above", open.len(), found.len())
}
