//! `cargo xtask panics`, which is part of `cargo xtask test`: no panic of the kernel is in reach of a guest, an extension or
//! a table of the machine.
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

/// What to do about the places that are named above it.
const WHAT_NEXT: &str = "A panic stops the processor that it happens on, so none may be in reach of a guest, an extension, a table of the \
     machine or the OS before. For each place above: where input can get there, return a typed error. Else write it so that \
     the compiler needs no check: get() and iterators instead of an index, checked_, saturating_ or wrapping_ arithmetic for \
     what each means. Only where the statement cannot panic for a reason that is evident beside it, say so right above it: \
     `// PANIC: reason`; for code of other crates in xtask/data/panics.toml. `cargo xtask panics` looks again.";

/// Builds every kernel image, as the board tests have it, and checks each.
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
    verdict(&Reasons::read(workspace)?, &found)
}

/// Prints what is wrong with the places `found`, or that nothing is.
fn verdict(reasons: &Reasons<'_>, found: &BTreeSet<Location>) -> Result<()> {
    let open: Vec<_> = found.iter().filter(|location| !reasons.justify(location)).collect();
    let unneeded = reasons.without_a_place(found);
    open.iter().for_each(|location| println!("{location}: this can panic, and nothing says why it does not"));
    unneeded.iter().for_each(|line| println!("{line}"));
    if !open.is_empty() {
        bail!("{} places of the kernel's images can panic without a reason. {WHAT_NEXT}", open.len());
    }
    if !unneeded.is_empty() {
        bail!("{} entries of xtask/data/panics.toml are needed no more; remove them", unneeded.len());
    }
    println!("{} places of the kernel's images can panic, each with the reason why it does not", found.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    /// This test program is linked as an image is. It has a place with a reason and one without.
    #[test]
    fn a_place_without_a_reason_fails_and_one_with_a_reason_does_not() {
        // PANIC: the index is 1.
        let (with, first) = (line!(), [1, 2][black_box(1)]);
        let (without, second) = (line!(), [2, 1][black_box(1)]);
        assert_eq!(first, 2 * second);
        let image = fs::read(std::env::current_exe().unwrap()).unwrap();
        let at = |line| move |place: &Location| place.file.ends_with("panics/mod.rs") && place.line == line;
        let all = locations::of_image(&image).unwrap();
        let only = |line| all.iter().filter(|place| at(line)(place)).cloned().collect::<BTreeSet<_>>();
        assert_eq!((only(with).len(), only(without).len()), (1, 1));
        let workspace = Workspace::open().unwrap();
        let reasons = Reasons::of_own_code(&workspace);
        verdict(&reasons, &only(with)).unwrap();
        let message = verdict(&reasons, &only(without)).unwrap_err().to_string();
        assert!(message.starts_with("1 places") && message.contains("PANIC:"), "{message}");
    }
}
