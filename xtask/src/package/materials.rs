//! The bill of materials: every crate that went into the programs, with version, licence and checksum, in CycloneDX's form.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use xshell::cmd;

use super::Source;
use crate::debian;
use crate::progress::Step;
use crate::workspace::Workspace;

/// The tool, and the version whose output is known.
const TOOL: &str = "cargo-sbom";
const VERSION: &str = "0.10.0";

/// Makes the file in `folder`.
pub(super) fn make(source: &Source<'_>, folder: &Path) -> Result<PathBuf> {
    let tool = tool(source.workspace)?;
    let run = cmd!(source.workspace.shell, "{tool} sbom --output-format cyclone_dx_json_1_6").quiet();
    let text = run.read().with_context(|| format!("{TOOL} cannot read the workspace"))?;
    let mut bill = serde_json::from_str(&text).with_context(|| format!("{TOOL} wrote no JSON"))?;
    make_repeatable(&mut bill, source);
    let path = folder.join(format!("plinth-{}.cdx.json", source.version));
    fs::write(&path, serde_json::to_string_pretty(&bill)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Takes out what differs from run to run: a random number, the time, the folder, the order.
fn make_repeatable(bill: &mut Value, source: &Source<'_>) {
    if let Some(bill) = bill.as_object_mut() {
        bill.remove("serialNumber");
    }
    if let Some(metadata) = bill.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("timestamp");
        metadata.insert(
            "component".to_owned(),
            json!({
                "type": "application",
                "name": "plinth",
                "version": source.version,
            }),
        );
    }
    replace(bill, &source.workspace.root.display().to_string());
    sort(bill);
}

/// Puts every list into one order: the tool writes them as its hash tables have them.
fn sort(value: &mut Value) {
    match value {
        Value::Array(values) => {
            values.iter_mut().for_each(sort);
            values.sort_by_cached_key(Value::to_string);
        }
        Value::Object(fields) => fields.values_mut().for_each(sort),
        _ => {}
    }
}

/// Replaces this machine's path to the checkout.
fn replace(value: &mut Value, root: &str) {
    match value {
        Value::String(text) => *text = text.replace(root, "/plinth"),
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, root)),
        Value::Object(fields) => fields.values_mut().for_each(|value| replace(value, root)),
        _ => {}
    }
}

/// The tool's file: as it is installed, else built into this tool's own folder.
fn tool(workspace: &Workspace) -> Result<PathBuf> {
    if debian::has_program(TOOL) {
        return Ok(PathBuf::from(TOOL));
    }
    let folder = workspace.output("tools")?;
    let program = folder.join("bin").join(TOOL);
    if !program.is_file() {
        let step = Step::new(format!("building {TOOL} {VERSION}"));
        cmd!(workspace.shell, "cargo install --quiet --locked --root {folder} --version {VERSION} {TOOL}")
            .quiet()
            .run()
            .with_context(|| format!("install it by hand: `cargo install --locked {TOOL}`"))?;
        step.done();
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_one_order_at_every_depth() {
        let mut one = json!({"b": [{"x": ["2", "1"]}, {"a": 1}], "a": "text"});
        let mut other = json!({"a": "text", "b": [{"a": 1}, {"x": ["1", "2"]}]});
        sort(&mut one);
        sort(&mut other);
        assert_eq!(one.to_string(), other.to_string());
    }
}
