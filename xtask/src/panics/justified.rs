//! Why a place that can panic does not.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::locations::Location;
use crate::lint::comment_above;
use crate::workspace::Workspace;

/// What the comment in the source begins with.
const WORD: &str = "PANIC:";

/// The reasons for code of other crates.
const FOREIGN: &str = "xtask/data/panics.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Foreign {
    allowed: Vec<Allowed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    /// A crate's name, or a folder or file of the standard library.
    place: String,
    /// Why it does not panic.
    reason: String,
}

impl Allowed {
    fn covers(&self, file: &str) -> bool {
        !self.reason.is_empty()
            && file
                .strip_prefix(&self.place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/']))
    }
}

/// All reasons there are.
pub(super) struct Reasons<'w> {
    workspace: &'w Workspace,
    foreign: Vec<Allowed>,
}

impl<'w> Reasons<'w> {
    pub(super) fn read(workspace: &'w Workspace) -> Result<Self> {
        let path = workspace.root.join(FOREIGN);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let foreign: Foreign = toml::from_str(&text).with_context(|| format!("{FOREIGN} is wrong"))?;
        Ok(Self { workspace, foreign: foreign.allowed })
    }

    /// The comments alone.
    #[cfg(test)]
    pub(super) fn of_own_code(workspace: &'w Workspace) -> Self {
        Self { workspace, foreign: Vec::new() }
    }

    /// Whether somebody says why this place does not panic; or it is none, but where a line of the log comes from.
    pub(super) fn justify(&self, location: &Location) -> bool {
        match fs::read_to_string(self.workspace.root.join(&location.file)) {
            Ok(source) => {
                let (line, column) = (location.line as usize, location.column as usize);
                logs(&source, line, column) || justifies(&source, line)
            }
            Err(_) => self.foreign.iter().any(|allowed| allowed.covers(&location.file)),
        }
    }

    /// The reasons that no place needs any more.
    pub(super) fn without_a_place(&self, found: &BTreeSet<Location>) -> Vec<String> {
        let needed = |allowed: &&Allowed| !found.iter().any(|place| allowed.covers(&place.file));
        let line = |allowed: &Allowed| {
            format!("{FOREIGN}: nothing in {} can panic; remove the entry", allowed.place)
        };
        self.foreign.iter().filter(needed).map(line).collect()
    }
}

/// Whether a call of `log`'s macros begins there. It passes the logger its own location, as a panic does; what is formatted has
/// places of its own.
fn logs(source: &str, line: usize, column: usize) -> bool {
    let own = source.lines().nth(line.wrapping_sub(1));
    own.and_then(|own| own.get(column.wrapping_sub(1)..)).is_some_and(|call| call.starts_with("log::"))
}

/// Whether the comment above the statement that contains `line`, or at its end, gives a reason.
fn justifies(source: &str, line: usize) -> bool {
    let lines: Vec<_> = source.lines().collect();
    let own = lines.get(line.wrapping_sub(1)).copied().unwrap_or_default();
    says_why(own) || (1..=lines.len()).contains(&line) && says_why(&comment_above(&lines, line))
}

fn says_why(text: &str) -> bool {
    text.split_once(WORD).is_some_and(|(_, reason)| !reason.trim_matches(['/', ' ']).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_above_the_statement_or_behind_it() {
        let source = "fn f(a: &[u8]) -> u8 {\n    // PANIC: callers pass one byte.\n    a\n        [0]\n}\n";
        assert!(justifies(source, 3) && justifies(source, 4));
        assert!(!justifies(source, 1) && !justifies(source, 0) && !justifies(source, 99));
        assert!(justifies("let a = b[0]; // PANIC: one.", 1));
        assert!(!justifies("// PANIC:\nlet a = b[0];", 2), "a reason is not empty");
        assert!(!justifies("// PANIC: one.\nlet a = b[0];\nlet c = b[1];\n", 3), "one statement only");
    }

    #[test]
    fn where_a_line_of_the_log_comes_from_is_no_place_to_panic() {
        let source = "    log::info!(\"{}\", a[0]);\n";
        assert!(logs(source, 1, 5));
        assert!(!logs(source, 1, 22) && !logs(source, 1, 99) && !logs(source, 2, 1) && !logs(source, 0, 0));
    }

    #[test]
    fn an_entry_covers_a_crate_of_any_version_and_no_other() {
        let allowed =
            |place: &str, reason: &str| Allowed { place: place.to_owned(), reason: reason.to_owned() };
        assert!(allowed("spin", "so").covers("spin-0.12.3/src/once.rs"));
        assert!(!allowed("spin", "so").covers("spinning-1.0.0/src/lib.rs"));
        assert!(allowed("library/core/src/num", "so").covers("library/core/src/num/mod.rs"));
        assert!(!allowed("spin", "").covers("spin-0.12.3/src/once.rs"), "a reason is not empty");
    }
}
