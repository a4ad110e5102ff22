//! Compares what Linux logs under Plinth with what it logs on the bare machine.
//!
//! Lines are compared as two sets, after what differs between any two boots (times, addresses, measured speeds)
//! is taken out of them. What a hypervisor explains is in `xtask/data/dmesg-allow.toml`, each with its reason.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Deserialize;

use super::board::Bench;
use super::table::Test;
use crate::emulator::{Ended, Watched};
use crate::workspace::manifest_folder;

/// The data file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    /// What differs between any two boots.
    normalise: Vec<Normalise>,
    /// What may be there on one side only.
    allow: Vec<Allow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Normalise {
    pattern: String,
    with: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    pattern: String,
    /// Why it is so; for the reader of the file, and for the test that there is one.
    reason: String,
}

/// Boots the same test bare and compares.
pub(super) fn same_as_bare(bench: &Bench<'_>, test: &Test, watched: &Watched) -> Result<()> {
    let bare = Test { bare: true, ..*test };
    let reference = bench.boot(&bare, &bench.log(&format!("{}-bare", test.name)))?.watched;
    if !matches!(reference.ended, Ended::Exit(_)) || reference.missing.is_some() {
        bail!("the bare boot to compare with did not end well: {:?}", reference.ended);
    }
    let difference = Rules::read()?.difference(&reference.lines, &watched.lines)?;
    if difference.is_empty() { Ok(()) } else { bail!("the kernel's log differs:\n{}", difference.join("\n")) }
}

impl Rules {
    fn read() -> Result<Self> {
        let path = manifest_folder().join("data/dmesg-allow.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let rules: Self =
            toml::from_str(text).with_context(|| format!("{} is not as expected", path.display()))?;
        match rules.allow.iter().find(|allow| allow.reason.is_empty()) {
            Some(allow) => bail!("{}: give a reason for {:?}", path.display(), allow.pattern),
            None => Ok(rules),
        }
    }

    /// The lines of one side only that nothing allows: `-` on the bare machine, `+` under Plinth.
    fn difference(&self, bare: &[String], plinth: &[String]) -> Result<Vec<String>> {
        let (bare, plinth) = (self.normalised(bare)?, self.normalised(plinth)?);
        let allowed = regex::RegexSet::new(self.allow.iter().map(|allow| &allow.pattern))?;
        let only = |sign: char, a: &BTreeSet<String>, b: &BTreeSet<String>| -> Vec<String> {
            a.difference(b)
                .filter(|line| !allowed.is_match(line))
                .map(|line| format!("{sign} {line}"))
                .collect()
        };
        Ok([only('-', &bare, &plinth), only('+', &plinth, &bare)].concat())
    }

    /// The lines between the marks, without what differs anyway.
    fn normalised(&self, lines: &[String]) -> Result<BTreeSet<String>> {
        let mut patterns = Vec::new();
        for rule in &self.normalise {
            patterns.push((Regex::new(&rule.pattern)?, rule.with.as_str()));
        }
        let log = lines
            .iter()
            .skip_while(|line| *line != "DMESG BEGIN")
            .skip(1)
            .take_while(|line| *line != "DMESG END");
        let clean = |line: &String| {
            patterns
                .iter()
                .fold(line.clone(), |line, (pattern, with)| pattern.replace_all(&line, *with).into_owned())
        };
        let log: BTreeSet<String> = log.map(clean).collect();
        if log.is_empty() {
            bail!("there is no kernel log between DMESG BEGIN and DMESG END")
        } else {
            Ok(log)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        normalise = [{ pattern = '^\[[^]]*\] ', with = "" }, { pattern = '0x[0-9a-f]+', with = "X" }]
        allow = [{ pattern = '^Hypervisor', reason = "there is one" }]
    "#;

    fn difference(bare: &str, plinth: &str) -> Vec<String> {
        let log = |text: &str| -> Vec<String> {
            format!("x\nDMESG BEGIN\n{text}\nDMESG END\ny").lines().map(str::to_owned).collect()
        };
        Rules::parse(Path::new("rules"), RULES).unwrap().difference(&log(bare), &log(plinth)).unwrap()
    }

    #[test]
    fn times_addresses_and_order_do_not_count() {
        let bare = "[    0.1] a at 0x12\n[    0.2] b";
        assert_eq!(difference(bare, "[    3.0] b\n[    3.1] a at 0xff"), [""; 0]);
    }

    #[test]
    fn what_is_not_allowed_is_told_from_both_sides() {
        let difference = difference("[ 0.1] a\n[ 0.2] b", "[ 0.1] a\n[ 0.1] Hypervisor x\n[ 0.2] c");
        assert_eq!(difference, ["- b", "+ c"]);
    }

    #[test]
    fn an_allowance_needs_a_reason() {
        let text = "normalise = []\nallow = [{ pattern = 'x', reason = '' }]";
        assert!(Rules::parse(Path::new("rules"), text).is_err());
    }

    #[test]
    fn a_log_that_is_not_there_is_an_error() {
        let rules = Rules::parse(Path::new("rules"), RULES).unwrap();
        assert!(rules.difference(&["DMESG BEGIN".to_owned()], &[]).is_err());
    }

    #[test]
    fn the_rules_that_ship_are_valid() {
        Rules::read().unwrap().normalised(&["DMESG BEGIN".to_owned(), "x".to_owned()]).unwrap();
    }
}
