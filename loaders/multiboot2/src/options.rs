//! The loader's own arguments in grub.cfg.

use core::fmt;
use core::num::NonZeroU32;

/// MiB for the hypervisor that are accepted.
const MEMORY: core::ops::RangeInclusive<u64> = 8..=2048;
/// Log levels.
const LEVELS: core::ops::RangeInclusive<u64> = 0..=5;

/// What the loader is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// MiB for the hypervisor.
    pub memory: u64,
    /// How much the kernel logs: 0 nothing, 5 everything.
    pub log: u64,
}

/// An argument that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadOption<'a> {
    /// No such argument.
    Unknown(&'a str),
    /// `memory=` is not in range.
    Memory(&'a str),
    /// `log=` is not in range.
    Log(&'a str),
    /// `watchdog=` is no number.
    Watchdog(&'a str),
    /// `pp-timeout=` is no number, or 0.
    PpTimeout(&'a str),
    /// `may-stop=` is none of the three.
    MayStop(&'a str),
    /// `separate-tables=` is neither `on` nor `off`.
    SeparateTables(&'a str),
}

impl fmt::Display for BadOption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (MEMORY.start(), MEMORY.end());
        match self {
            Self::Unknown(word) => {
                write!(
                    f,
                    "the loader has no argument `{word}`; in grub.cfg give it memory=MIB, log=LEVEL, watchdog=MS, pp-timeout=MS, may-stop=always|extension|never, separate-tables=on|off or nothing"
                )
            }
            Self::Memory(value) => {
                write!(f, "memory={value} is no number of MiB from {low} to {high}; choose one of these")
            }
            Self::Log(value) => {
                write!(f, "log={value} is no level from 0 (nothing) to 5 (everything); choose one of these")
            }
            Self::Watchdog(value) => {
                write!(f, "watchdog={value} is no number of milliseconds; choose one, or 0 for no bound")
            }
            Self::PpTimeout(value) => {
                write!(f, "pp-timeout={value} is no number of milliseconds; choose one from 1 on")
            }
            Self::MayStop(value) => {
                write!(f, "may-stop={value} is nobody; choose always, extension or never")
            }
            Self::SeparateTables(value) => {
                write!(
                    f,
                    "separate-tables={value} is neither on nor off; choose one, or leave it to the kernel"
                )
            }
        }
    }
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// [`BadOption`].
    pub fn parse(line: &str) -> Result<Options, BadOption<'_>> {
        let number = |value: &str, range: core::ops::RangeInclusive<u64>| {
            value.parse().ok().filter(|number| range.contains(number))
        };
        let mut options = Self { memory: 32, log: 3 };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(("memory", value)) => {
                    options.memory = number(value, MEMORY).ok_or(BadOption::Memory(value))?;
                }
                Some(("log", value)) => options.log = number(value, LEVELS).ok_or(BadOption::Log(value))?,
                // The kernel's own, which gets the same line.
                Some(("separate-tables", "on" | "off")) => {}
                Some(("separate-tables", value)) => return Err(BadOption::SeparateTables(value)),
                Some(("watchdog", value)) => {
                    value.parse::<u32>().map_err(|_| BadOption::Watchdog(value))?;
                }
                Some(("may-stop", "always" | "extension" | "never")) => {}
                Some(("may-stop", value)) => return Err(BadOption::MayStop(value)),
                Some(("pp-timeout", value)) => {
                    value.parse::<NonZeroU32>().map_err(|_| BadOption::PpTimeout(value))?;
                }
                _ => return Err(BadOption::Unknown(word)),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_range_are_taken() {
        assert_eq!(Options::parse(""), Ok(Options { memory: 32, log: 3 }));
        assert_eq!(Options::parse(" memory=64  log=0"), Ok(Options { memory: 64, log: 0 }));
        assert_eq!(Options::parse("watchdog=500"), Ok(Options { memory: 32, log: 3 }));
    }

    #[test]
    fn anything_else_is_named() {
        assert_eq!(Options::parse("memory=4"), Err(BadOption::Memory("4")));
        assert_eq!(
            Options::parse("log=2 memory=99999999999999999999"),
            Err(BadOption::Memory("99999999999999999999"))
        );
        assert_eq!(Options::parse("log=debug"), Err(BadOption::Log("debug")));
        assert_eq!(Options::parse("separate-tables=off"), Ok(Options { memory: 32, log: 3 }));
        assert_eq!(Options::parse("separate-tables=no"), Err(BadOption::SeparateTables("no")));
        assert_eq!(Options::parse("watchdog=5s"), Err(BadOption::Watchdog("5s")));
        assert_eq!(Options::parse("pp-timeout=0"), Err(BadOption::PpTimeout("0")));
        assert_eq!(Options::parse("may-stop=me"), Err(BadOption::MayStop("me")));
        assert_eq!(Options::parse("may-stop=never"), Ok(Options { memory: 32, log: 3 }));
        assert_eq!(Options::parse("pp-timeout=20"), Ok(Options { memory: 32, log: 3 }));
        assert_eq!(Options::parse("memory=32 quiet"), Err(BadOption::Unknown("quiet")));
    }
}
