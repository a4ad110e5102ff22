//! The settings of the loaders that have no `plinth.toml`, in the same words.

use anyhow::{Result, bail};
use toml::Value;

use super::MEMORY;
use crate::volume::Config;

/// What the loaders of every kind can be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// MiB for the hypervisor.
    pub(super) memory: u32,
    /// How much it logs: 0 nothing, 1 errors, up to 5.
    pub(super) log: u32,
    /// What else there is, for a loader that takes words.
    pub(super) others: Vec<String>,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Settings {
    /// Reads lines of `KEY = VALUE`; later ones win.
    pub(super) fn read(lines: &[String]) -> Result<Self> {
        let mut config = Config::default();
        for line in lines {
            config.set_line(line)?;
        }
        let mut settings = Self { memory: MEMORY, log: 3, others: Vec::new() };
        for (key, value) in config.settings() {
            match (key.as_str(), value) {
                ("memory", Value::Integer(mib)) => settings.memory = u32::try_from(*mib)?,
                ("log", Value::String(level)) => settings.log = number_of(level)?,
                (_, Value::String(text)) => settings.others.push(format!("{key}={text}")),
                (_, other) => settings.others.push(format!("{key}={other}")),
            }
        }
        Ok(settings)
    }

    /// The same, where of the others only the kernel's own options `known` are taken.
    pub(super) fn read_strictly(lines: &[String], loader: &str, known: &[&str]) -> Result<Self> {
        let settings = Self::read(lines)?;
        let is_known = |other: &&String| other.split('=').next().is_some_and(|key| known.contains(&key));
        match settings.others.iter().find(|other| !is_known(other)) {
            Some(other) => bail!(
                "the loader {loader} has no setting {other}; it takes memory and log, and the kernel {known:?}"
            ),
            None => Ok(settings),
        }
    }
}

fn number_of(level: &str) -> Result<u32> {
    match LEVELS.iter().position(|name| *name == level) {
        Some(number) => Ok(number as u32),
        None => bail!("there is no log level {level:?}; choose one of {}", LEVELS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_key() {
        let lines = ["memory = 64", "log=debug", "stop = true"].map(str::to_owned);
        let settings = Settings::read(&lines).unwrap();
        assert_eq!(settings, Settings { memory: 64, log: 4, others: vec!["stop=true".to_owned()] });
        assert!(Settings::read_strictly(&lines, "x", &["vhe"]).is_err());
        let lines = ["vhe=off".to_owned()];
        assert!(Settings::read_strictly(&lines, "x", &["vhe"]).is_ok());
        assert!(Settings::read_strictly(&lines, "x", &[]).is_err());
        assert!(Settings::read(&["log=loud".to_owned()]).is_err());
    }
}
