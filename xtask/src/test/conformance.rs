//! Compares the conformance run's verdicts with the list that the ABI asks for: the same list for every board and for
//! arch-sim, so that machines that pass agree with each other.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use plinth_extension_api::abi::spec;

use super::board::Bench;
use super::table::Test;
use crate::artifacts::released_checks;
use crate::emulator::Watched;

/// What stands before each verdict.
const PREFIX: &str = "extension: ABI ";
/// What stands behind it.
const GOOD: &str = " ok";

/// Fails unless every check was made, passed, and was asked for.
pub(super) fn check(bench: &Bench<'_>, test: &Test, watched: &Watched) -> Result<()> {
    let asked = match test.released {
        Some(version) => released_checks(bench.workspace(), version)?.lines().map(str::to_owned).collect(),
        None => asked_now(),
    };
    compare(&watched.lines, &asked)
}

/// The checks that the ABI asks for in this tree.
fn asked_now() -> BTreeSet<String> {
    spec::checks().map(|check| check.to_string()).collect()
}

fn compare(lines: &[String], asked: &BTreeSet<String>) -> Result<()> {
    let verdict = |line: &'_ str| {
        let (_, verdict) = line.split_once(PREFIX)?;
        verdict.trim_end().strip_suffix(GOOD).map(str::to_owned)
    };
    let made: BTreeSet<_> = lines.iter().filter_map(|line| verdict(line)).collect();
    let names = |set: Vec<&String>| set.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let missing = names(asked.difference(&made).collect());
    if !missing.is_empty() {
        bail!("checks that the ABI asks for were not passed: {missing}");
    }
    let unknown = names(made.difference(asked).collect());
    if !unknown.is_empty() {
        bail!("checks passed that no contract asks for: {unknown}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<String> {
        spec::checks().map(|check| format!("[info] extension: ABI {check} ok")).collect()
    }

    #[test]
    fn every_check_and_no_other_must_have_passed() {
        assert!(compare(&all(), &asked_now()).is_ok());
        assert!(compare(&all()[1..], &asked_now()).is_err());
        let mut failed = all();
        failed[3] = failed[3].replace(" ok", " FAILED: it gave [0, 0]");
        assert!(compare(&failed, &asked_now()).is_err());
        let mut more = all();
        more.push("extension: ABI VmMap Nonsense(9) ok".to_owned());
        assert!(compare(&more, &asked_now()).is_err());
    }
}
