//! The house lint: rules of the design that rustc and clippy do not know.
//!
//! | Rule | Where |
//! | --- | --- |
//! | no `target_arch` in any `cfg` | `kernel/`, `hal/` |
//! | `#![forbid(unsafe_code)]`, and no `unsafe` | `kernel/` |
//! | bytes of frames are accessed only by those who keep the frame | `kernel/` |
//! | a `SAFETY:` comment right above each `unsafe {` and `unsafe impl` | everywhere |
//! | a `BOUND:` comment right above each loop that polls, each call and instruction that waits, and each use of `spin` | `kernel/`, `arch-*` but `arch-sim`, `images/` |
//! | a `//!` module doc first | everywhere |
//! | the exit page is read only where, and as often as, a table says | `kernel/`, `hal/`, `arch-*/` |
//! | the file names of a backend's plan | `arch-amd/`, `arch-intel/`, `arch-armv8/` |
//! | no note of work left to do | everywhere |
//! | 600 lines at most | everywhere |

mod backend_plan;
mod comment;
mod exit_page;
mod rules;
mod tokens;
mod waits;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

pub(crate) use comment::comment_above;

/// A rule broken, as an editor can jump to it.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    line: usize,
    text: String,
}

/// Checks the workspace.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    let files = sources(&workspace.root)?;
    let paths: Vec<_> = files.iter().map(|path| workspace.relative(path).to_path_buf()).collect();
    let mut found = backend_plan::check(&paths);
    for (file, path) in files.iter().zip(&paths) {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        found.extend(rules::check(path, &text).into_iter().map(|finding| (path.clone(), finding)));
    }
    for (path, finding) in &found {
        println!("{}:{}: {}", path.display(), finding.line, finding.text);
    }
    if files.is_empty() {
        bail!("the lint found no .rs file in {}", workspace.root.display());
    }
    match found.len() {
        0 => Ok(()),
        count => bail!("the house lint found {count} things to correct, named above"),
    }
}

/// Every Rust source of the workspace: not what is built, nor what is hidden.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                files.extend(sources(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
