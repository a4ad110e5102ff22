//! The documents that promise something name the test that shows it, and that test exists.
//!
//! Checked are tables with a column `Test` or `Shown by` in docs/security.md and docs/advisories.md: each name in backquotes there is a
//! board test, a test of `arch-sim`, a package, a command of this tool, or a file. In docs/advisories.md an answer `**holds**` has one.
//! In all documents a path in backquotes that begins with a folder of the workspace leads somewhere, and some other document links to each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::table;
use crate::workspace::Workspace;

/// Where `FILE::FUNCTION` and bare names of test files are looked for.
const SIMULATED: &str = "arch-sim/tests";

/// A cell of a row that promises something.
struct Cell {
    place: String,
    answer: String,
    tests: String,
}

/// What is wrong in a document, a line each.
fn check(workspace: &Workspace, document: &str) -> Result<Vec<String>> {
    let path = workspace.root.join(document);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut wrong = Vec::new();
    for cell in cells(document, &text) {
        if cell.answer.contains("**holds**") && names(&cell.tests).next().is_none() {
            wrong.push(format!("{}: it says that it holds, and names no test", cell.place));
        }
        for name in names(&cell.tests).filter(|name| !exists(workspace, name)) {
            wrong.push(format!("{}: there is no test {name}", cell.place));
        }
    }
    Ok(wrong)
}

/// The rows of tables that have a column of tests; the column before it is the answer.
fn cells(document: &str, text: &str) -> Vec<Cell> {
    let mut column = None;
    let mut cells = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let row: Vec<_> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if !line.trim_start().starts_with('|') {
            column = None;
        } else if let Some(at) = row.iter().position(|head| ["Test", "Shown by"].contains(head)) {
            column = Some(at);
        } else if let Some((at, tests)) = column.and_then(|at| Some((at, *row.get(at)?)))
            && !tests.starts_with("---")
        {
            let answer = at.checked_sub(1).map_or("", |at| row[at]).to_owned();
            cells.push(Cell { place: format!("{document}:{}", index + 1), answer, tests: tests.to_owned() });
        }
    }
    cells
}

/// The paths in backquotes that lead nowhere, but for what is made: `target/`. `NAME` in one stands for any.
fn dead_paths(workspace: &Workspace, text: &str) -> Vec<String> {
    let is_path = |name: &&str| {
        let first = name.split_once('/').map(|(first, _)| first);
        first.is_some_and(|first| {
            !first.is_empty() && !first.starts_with('.') && workspace.root.join(first).is_dir()
        }) && !name.contains([' ', '*'])
            && !name.contains("NAME")
            && !name.starts_with("target/")
    };
    let leads = |name: &&str| workspace.root.join(name.split("::").next().unwrap_or(name)).exists();
    names(text).filter(is_path).filter(|name| !leads(name)).map(str::to_owned).collect()
}

/// The other documents that the page `from` links to.
fn links<'a>(text: &'a str, from: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let places = targets.filter(|target| target.ends_with(".md")).filter_map(|target| {
        let mut place = from.parent()?.to_owned();
        for part in target.split('/') {
            if part == ".." {
                place.pop();
            } else {
                place.push(part);
            }
        }
        Some(place)
    });
    places.filter(move |place| place != from)
}

/// What stands in backquotes.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn exists(workspace: &Workspace, name: &str) -> bool {
    let is_file = |path: &str| workspace.root.join(path).exists();
    name.starts_with("cargo ")
        || table::all().any(|test| test.name == name)
        || workspace.package(name).is_some()
        || is_file(name)
        || is_file(&format!("{SIMULATED}/{name}.rs"))
        || is_file(&format!("{SIMULATED}/{name}"))
        || name.split_once("::").is_some_and(|(file, function)| has_function(workspace, file, function))
}

fn has_function(workspace: &Workspace, file: &str, function: &str) -> bool {
    let sources = [format!("{SIMULATED}/{file}.rs"), format!("{SIMULATED}/{file}/main.rs"), file.to_owned()];
    let text = sources.iter().find_map(|source| fs::read_to_string(workspace.root.join(source)).ok());
    text.is_some_and(|text| text.contains(&format!("fn {function}(")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_that_a_document_names_exists() {
        let workspace = Workspace::open().unwrap();
        let documents = ["docs/security.md", "docs/advisories.md"];
        let wrong: Vec<_> =
            documents.iter().flat_map(|document| check(&workspace, document).unwrap()).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_path_in_a_document_leads_somewhere() {
        let workspace = Workspace::open().unwrap();
        let documents = ["docs", "docs/abi"].map(|folder| workspace.root.join(folder));
        let files = documents.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.push(workspace.root.join("README.md"));
        for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "md")) {
            let text = fs::read_to_string(file).unwrap();
            let dead: Vec<_> = text.lines().flat_map(|line| dead_paths(&workspace, line)).collect();
            assert!(dead.is_empty(), "{}: {dead:?}", file.display());
        }
        assert_eq!(dead_paths(&workspace, "`xtask/no-such.rs`, `docs/testing.md`"), ["xtask/no-such.rs"]);
    }

    /// A page that nothing links to is not read, and grows stale.
    #[test]
    fn every_page_is_linked_from_another() {
        let root = Workspace::open().unwrap().root;
        let pages = |folder: &str| {
            let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.extension().is_some_and(|end| end == "md")).collect::<Vec<_>>()
        };
        let documents: Vec<_> = ["", "docs", "docs/abi"].into_iter().flat_map(pages).collect();
        let targets: BTreeSet<_> = documents
            .iter()
            .flat_map(|from| links(&fs::read_to_string(from).unwrap(), from).collect::<Vec<_>>())
            .collect();
        let is_book = |path: &&PathBuf| path.starts_with(root.join("docs"));
        let orphans: Vec<_> =
            documents.iter().filter(is_book).filter(|path| !targets.contains(*path)).collect();
        assert!(orphans.is_empty(), "no other document links to {orphans:?}");
    }

    #[test]
    fn a_link_of_a_page_to_itself_does_not_count() {
        let found = |text| links(text, Path::new("/docs/a.md")).collect::<Vec<_>>();
        assert_eq!(
            found("[b](b.md#x), [c](abi/c.md)"),
            [Path::new("/docs/b.md"), Path::new("/docs/abi/c.md")]
        );
        assert!(found("[a](a.md), [web](https://example.org/)").is_empty());
        assert_eq!(found("[up](../CONTRIBUTING.md)"), [Path::new("/CONTRIBUTING.md")]);
    }

    #[test]
    fn a_promise_without_a_test_is_found() {
        let text = "| A | Plinth | Shown by |\n| --- | --- | --- |\n| x | **holds**: so | |\n| y | n/a | `no-such` |\n";
        let found = cells("d", text);
        assert_eq!(found.len(), 2);
        assert!(found[0].answer.contains("holds") && names(&found[0].tests).next().is_none());
        assert_eq!(names(&found[1].tests).collect::<Vec<_>>(), ["no-such"]);
        assert!(!exists(&Workspace::open().unwrap(), "no-such"));
        assert!(exists(&Workspace::open().unwrap(), "calls::ids_that_name_nothing"));
    }
}
