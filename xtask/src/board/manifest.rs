//! Finds the boards by reading the folder, and says what is wrong with a manifest in a way that can be acted on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::Board;

/// Every board under `folder`, by name.
pub(crate) fn all(folder: &Path) -> Result<Vec<Board>> {
    names(folder)?.iter().map(|name| read(folder, name)).collect()
}

/// The board called `name`.
pub(crate) fn find(folder: &Path, name: &str) -> Result<Board> {
    let names = names(folder)?;
    if !names.iter().any(|known| known == name) {
        bail!("there is no board {name:?}; there are: {}", names.join(", "));
    }
    read(folder, name)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().join("board.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn read(folder: &Path, name: &str) -> Result<Board> {
    let path: PathBuf = folder.join(name).join("board.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut board = parse(&path, &text)?;
    name.clone_into(&mut board.name);
    Ok(board)
}

/// Reads a manifest; the error names the file, the line, and what would be right there.
fn parse(path: &Path, text: &str) -> Result<Board> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let remedy = "correct it there; the keys are those of `Board` in xtask/src/board/mod.rs";
        anyhow!("{}:{line}: {}; {remedy}", path.display(), error.message().trim())
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boards() -> PathBuf {
        crate::workspace::manifest_folder().join("../boards")
    }

    fn error(text: &str) -> String {
        parse(Path::new("boards/x/board.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn the_boards_that_ship_are_valid() {
        let boards = all(&boards()).unwrap();
        assert!(
            boards.iter().any(|board| board.name == crate::cli::DEFAULT_BOARD && board.emulator.is_some())
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_file_and_line() {
        let error = error("description = \"x\"\ntriplet = \"y\"\n");
        assert!(
            error.starts_with("boards/x/board.toml:2: unknown field `triplet`, expected one of"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        assert!(error("description = \"x\"\n").contains("missing field `triple`"));
    }

    #[test]
    fn a_wrong_loader_is_answered_with_the_right_ones() {
        let text = "description=\"\"\ntriple=\"\"\nkernel=\"\"\nloader=\"lilo\"\nconsole=\"\"\n";
        let error = error(text);
        assert!(error.contains(":4: unknown variant `lilo`, expected one of `uefi`"), "{error}");
    }

    #[test]
    fn an_unknown_board_is_answered_with_the_known_ones() {
        let error = find(&boards(), "abacus").unwrap_err().to_string();
        assert!(error.contains("\"abacus\"; there are: ") && error.contains("pc-uefi"), "{error}");
    }
}
