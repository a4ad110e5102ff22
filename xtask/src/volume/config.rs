//! Writes `plinth.toml`, the file that tells the loader what to load.

use anyhow::{Result, bail};
use toml::{Table, Value};

/// The settings, in the making. Later ones win.
#[derive(Debug, Default)]
pub(crate) struct Config {
    settings: Table,
}

impl Config {
    /// Sets `key`.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.settings.insert(key.to_owned(), value.into());
    }

    /// Sets what `KEY = VALUE` says. A value that is not TOML, such as a bare word, is taken as a string.
    pub(crate) fn set_line(&mut self, line: &str) -> Result<()> {
        let Some((key, value)) = line.split_once('=') else {
            bail!("{line:?} is not KEY = VALUE, as in log=debug");
        };
        let value = value.trim();
        let parsed = toml::from_str::<Table>(&format!("value = {value}")).ok();
        let parsed = parsed.and_then(|mut table| table.remove("value"));
        self.set(key.trim(), parsed.unwrap_or_else(|| value.into()));
        Ok(())
    }

    /// Every setting.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.settings.iter()
    }

    /// The file.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let text = self.settings.to_string();
        format!("# Written by `cargo xtask`. Paths are relative to this file.\n{text}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Value {
        let mut config = Config::default();
        config.set_line(text).unwrap();
        config.settings.remove("key").unwrap()
    }

    #[test]
    fn a_line_is_toml_or_a_bare_word() {
        assert_eq!(line("key=debug"), Value::from("debug"));
        assert_eq!(line("key = \"debug\""), Value::from("debug"));
        assert_eq!(line("key = 64"), Value::from(64));
        assert_eq!(line("key=false"), Value::from(false));
        assert!(Config::default().set_line("key").is_err());
    }

    #[test]
    fn strings_are_quoted_and_later_settings_win() {
        let mut config = Config::default();
        config.set("cmdline", "a=\"b\"");
        config.set("memory", 32);
        config.set_line("memory=8").unwrap();
        let table: Table = toml::from_str(&String::from_utf8(config.into_bytes()).unwrap()).unwrap();
        assert_eq!((table["cmdline"].as_str(), table["memory"].as_integer()), (Some("a=\"b\""), Some(8)));
    }
}
