//! `plinth.toml`, the file beside the loader that says what to launch and what to start then.
//!
//! A mistake in it must not cost the machine: [`Config::parse`] says what is wrong and where, and
//! [`Config::salvage`] keeps what is needed to boot on without Plinth.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;
use serde::Deserialize;

/// The name of the file.
pub const FILE_NAME: &str = "plinth.toml";

/// The least memory a hypervisor can be given, in MiB.
pub const MEMORY_MIN: u32 = 8;

/// What `plinth.toml` says. Paths are relative to its folder, with `/` or `\`; one that begins with a
/// separator is relative to the volume.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The kernel's ELF file. Required to launch.
    pub kernel: Option<String>,
    /// The extension's ELF file. Required to launch.
    pub extension: Option<String>,
    /// The EFI image to start afterwards; without one, the firmware's next boot entry.
    pub next: Option<String>,
    /// The initial RAM disk for `next`, if that is a Linux kernel.
    pub initrd: Option<String>,
    /// The load options (command line) of `next`.
    pub cmdline: Option<String>,
    /// How much Plinth tells on its console.
    pub log: LogLevel,
    /// Memory for the hypervisor.
    pub memory: Memory,
    /// Whether to launch Plinth at all.
    pub launch: Launch,
    /// How long the extension may take to return, in milliseconds; 0: for ever. The kernel knows what is usual.
    pub watchdog: Option<u32>,
    /// How long a processor may take to answer another one, in milliseconds. The kernel knows what is usual.
    #[serde(rename = "pp-timeout")]
    pub pp_timeout: Option<NonZeroU32>,
    /// Who may have the bare machine back. The kernel knows what is usual.
    #[serde(rename = "may-stop")]
    pub may_stop: Option<MayStop>,
    /// Whether the extension has page tables of its own. The kernel knows which processors take it.
    #[serde(rename = "separate-tables")]
    pub separate_tables: Option<Switch>,
    /// Launch, then promote the firmware back to the bare machine before starting `next`: a test of the
    /// way back.
    pub stop: bool,
}

/// `log`: the numbers are those of the launch contract.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[repr(u64)]
pub enum LogLevel {
    /// Nothing.
    Off = 0,
    /// What went wrong.
    Error = 1,
    /// And what looks wrong.
    Warn = 2,
    /// And what happens once: the default.
    #[default]
    Info = 3,
    /// And what helps a developer.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

/// A yes or no that the kernel decides itself if nothing is said.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// `may-stop`: who may stop the hypervisor.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum MayStop {
    /// The root VM's kernel.
    Always,
    /// The extension.
    Extension,
    /// Nobody.
    Never,
}

/// `memory`: how much memory the hypervisor gets, in MiB.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "u32")]
pub struct Memory(pub u32);

impl Default for Memory {
    fn default() -> Self {
        Self(32)
    }
}

impl TryFrom<u32> for Memory {
    type Error = String;

    fn try_from(mib: u32) -> Result<Self, String> {
        match mib {
            MEMORY_MIN..=4096 => Ok(Self(mib)),
            _ => Err(alloc::format!("`memory` is {mib} MiB, but must be from {MEMORY_MIN} to 4096")),
        }
    }
}

/// `launch`: whether to launch Plinth before starting the next image. True unless said otherwise.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Launch(pub bool);

impl Default for Launch {
    fn default() -> Self {
        Self(true)
    }
}

/// What is wrong with `plinth.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The line it is in, counted from 1, where it is in one.
    pub line: Option<usize>,
    /// What it is.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FILE_NAME)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}; correct the file and start again", self.message)
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Syntax errors, unknown keys (with the known ones), wrong values, and keys that need another one.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| located(text, &error))?;
        config.check()?;
        Ok(config)
    }

    /// What a faulty file still says about the image to start: `next` with its `initrd` and `cmdline`, and no launch.
    pub fn salvage(text: &str) -> Self {
        let table = toml::from_str::<toml::Table>(text).unwrap_or_default();
        let string = |key| table.get(key).and_then(|value| value.as_str()).map(ToString::to_string);
        Self {
            next: string("next"),
            initrd: string("initrd"),
            cmdline: string("cmdline"),
            launch: Launch(false),
            ..Self::default()
        }
    }

    /// The kernel's command line.
    pub fn options(&self) -> String {
        let watchdog = self.watchdog.map(|limit| alloc::format!("watchdog={limit}"));
        let tables = self.separate_tables.map(|choice| match choice {
            Switch::On => "separate-tables=on".to_string(),
            Switch::Off => "separate-tables=off".to_string(),
        });
        let answer = self.pp_timeout.map(|limit| alloc::format!("pp-timeout={limit}"));
        let may_stop = self.may_stop.map(|choice| match choice {
            MayStop::Always => "may-stop=always".to_string(),
            MayStop::Extension => "may-stop=extension".to_string(),
            MayStop::Never => "may-stop=never".to_string(),
        });
        watchdog.into_iter().chain(answer).chain(may_stop).chain(tables).collect::<Vec<_>>().join(" ")
    }

    fn check(&self) -> Result<(), ConfigError> {
        let launch = self.launch.0;
        let faults = [
            (
                launch && self.kernel.is_none(),
                "`kernel` is missing: name the kernel's ELF file, or set `launch = false`",
            ),
            (
                launch && self.extension.is_none(),
                "`extension` is missing: name the extension's ELF file, or set `launch = false`",
            ),
            (
                self.next.is_none() && self.initrd.is_some(),
                "`initrd` is there, but no `next` to give it to: name the Linux kernel as `next`",
            ),
            (
                self.next.is_none() && self.cmdline.is_some(),
                "`cmdline` is there, but no `next` to give it to: name the image as `next`",
            ),
        ];
        match faults.iter().find(|(wrong, _)| *wrong) {
            Some((_, message)) => Err(ConfigError { line: None, message: message.to_string() }),
            None => Ok(()),
        }
    }
}

fn located(text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| before.matches('\n').count() + 1);
    ConfigError { line, message: error.message().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "kernel = 'k.elf'\nextension = 'e.elf'\n";

    fn fault(text: &str) -> String {
        Config::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn everything_can_be_said() {
        let text = "kernel='k'\nextension='e'\nnext='a/b'\ninitrd='i'\ncmdline='c d'\nlog='trace'\nmemory=64\nlaunch=true\nwatchdog=5\npp-timeout=7\nmay-stop='never'\nseparate-tables='on'\nstop=true";
        let config = Config::parse(text).unwrap();
        assert_eq!((config.memory.0, config.log as u64, config.stop), (64, 5, true));
        assert_eq!(config.cmdline.as_deref(), Some("c d"));
        assert_eq!(config.options(), "watchdog=5 pp-timeout=7 may-stop=never separate-tables=on");
        let off = alloc::format!("{GOOD}separate-tables = 'off'");
        assert_eq!(Config::parse(&off).unwrap().options(), "separate-tables=off");
        assert_eq!(Config::parse(GOOD).unwrap().options(), "");
    }

    #[test]
    fn defaults_launch_with_32_mib() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!((config.memory.0, config.launch.0, config.stop), (32, true, false));
        assert_eq!(config.log, LogLevel::Info);
        assert!(!Config::parse("launch = false").unwrap().launch.0);
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line_and_the_right_ones() {
        let text = fault("kernel = 'k'\nextensoin = 'e'\n");
        assert!(text.starts_with("plinth.toml, line 2: unknown field `extensoin`"), "{text}");
        let keys = [
            "kernel",
            "extension",
            "next",
            "initrd",
            "cmdline",
            "log",
            "memory",
            "launch",
            "watchdog",
            "stop",
        ];
        for key in keys {
            assert!(text.contains(&alloc::format!("`{key}`")), "{key} in {text}");
        }
    }

    #[test]
    fn wrong_values_are_named_with_their_line() {
        assert!(fault("\nlog = 'loud'").contains("line 2: unknown variant `loud`, expected one of `off`"));
        assert!(fault("memory = 7").contains("line 1: `memory` is 7 MiB, but must be from 8 to 4096"));
        assert!(fault("\n\nmemory = -1").contains("line 3: "));
        assert!(fault("pp-timeout = 0").contains("line 1: "));
        assert!(fault("kernel = ").contains("line 1: "));
    }

    #[test]
    fn missing_keys_are_named() {
        assert!(fault("extension = 'e'").contains("`kernel` is missing"));
        assert!(fault("kernel = 'k'").contains("`extension` is missing"));
        assert!(fault(&alloc::format!("{GOOD}initrd = 'i'")).contains("no `next`"));
        assert!(fault("launch = false\ncmdline = 'c'").contains("no `next`"));
    }

    #[test]
    fn a_faulty_file_still_names_the_payload() {
        let saved = Config::salvage("kernal = 'k'\nnext = 'linux'\ncmdline = 'quiet'\nmemory = 'much'");
        assert_eq!((saved.next.as_deref(), saved.cmdline.as_deref()), (Some("linux"), Some("quiet")));
        assert!(!saved.launch.0);
        assert_eq!(Config::salvage("[[["), Config { launch: Launch(false), ..Config::default() });
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,200}", key in "[a-z]{1,8}") {
            let _ = Config::parse(&text).map_err(|error| error.to_string());
            let _ = Config::parse(&alloc::format!("{key} = {text}\n"));
            Config::salvage(&text);
        }
    }
}
