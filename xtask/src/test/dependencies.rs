//! docs/dependencies.md names every crate that the workspace depends on, with its licence, and no other.

use std::collections::BTreeMap;
use std::fs;

use cargo_metadata::{Metadata, MetadataCommand};

use crate::workspace::{Workspace, manifest_folder};

/// The crates that some package of the workspace names, with their licences.
fn named(metadata: &Metadata) -> BTreeMap<String, String> {
    let dependencies = metadata.workspace_packages().into_iter().flat_map(|package| &package.dependencies);
    let foreign = dependencies.filter(|dependency| dependency.path.is_none());
    let licence = |name: &str| {
        let package = metadata.packages.iter().find(|package| package.name.as_str() == name);
        package.and_then(|package| package.license.clone()).unwrap_or_default()
    };
    foreign.map(|dependency| (dependency.name.clone(), licence(&dependency.name))).collect()
}

/// The crates of the page's tables but the last one, with the licences there.
fn listed(page: &str) -> BTreeMap<String, String> {
    let page = page.split("## What was not taken").next().unwrap_or(page);
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let licence = cells.get(3).copied().unwrap_or_default().to_owned();
        cells[0]
            .split('`')
            .skip(1)
            .step_by(2)
            .map(move |name| (name.to_owned(), licence.clone()))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The licences of an expression, whatever their order: `A/B` is the old way to write `A OR B`.
fn choices(licence: &str) -> Vec<String> {
    let licence = licence.replace('/', " OR ");
    let mut choices: Vec<_> = licence.split(" OR ").map(|name| name.trim().to_owned()).collect();
    choices.sort();
    choices
}

#[test]
fn every_crate_stands_in_the_page_with_its_licence() {
    let workspace = Workspace::open().unwrap();
    let metadata = MetadataCommand::new().manifest_path(manifest_folder().join("Cargo.toml")).exec().unwrap();
    let listed = listed(&fs::read_to_string(workspace.root.join("docs/dependencies.md")).unwrap());
    let named = named(&metadata);
    let missing: Vec<_> = named.keys().filter(|name| !listed.contains_key(*name)).collect();
    assert!(missing.is_empty(), "docs/dependencies.md lacks {missing:?}");
    let gone: Vec<_> = listed.keys().filter(|name| !named.contains_key(*name)).collect();
    assert!(gone.is_empty(), "docs/dependencies.md names {gone:?}, which no package depends on");
    for (name, licence) in &named {
        let (said, real) = (choices(&listed[name]), choices(licence));
        assert!(said.iter().all(|choice| real.contains(choice)), "{name} has the licence {licence}");
    }
}
