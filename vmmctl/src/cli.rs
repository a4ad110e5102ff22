//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde::{Deserialize, Serialize};

use crate::Size;

/// What the exit codes mean, below every help text and in the manual page.
const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  wrong arguments
   2  not allowed: not root, or the kernel is locked down
   3  the module is not loaded
   4  this machine cannot run Plinth as it is; `vmmctl check` says why
   5  the kernel's or the extension's file is refused
   6  memory: none in one piece, or too little for the two files
   7  the hypervisor refused to launch; nothing has changed
   8  Plinth does not run
   9  Plinth runs already, or somebody else is about to start it
  10  Plinth could not be stopped; it goes on on the CPUs that are named";

/// Launches Plinth below the running Linux, and gives the machine back.
#[derive(Debug, Parser)]
#[command(name = "vmmctl", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Launch Plinth below this Linux, on every CPU or on none
    Start(StartOptions),
    /// Give the machine back to Linux, on every CPU or on none
    Stop {
        /// Also stop a Plinth that another loader launched
        #[arg(long)]
        force: bool,
    },
    /// Stop, then start as the last time, but for the options given
    Restart(StartOptions),
    /// Show what runs
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show the hypervisor's log; that of the last one where none runs
    Dump {
        /// Go on with what is logged from now on, until Ctrl-C
        #[arg(long)]
        follow: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Record every exit for some time, for a viewer, and sum them up
    Trace(TraceOptions),
    /// Show exits a second by class and PP, until q
    Top {
        /// Seconds from one page to the next
        #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
        interval: f64,
    },
    /// Say for each requirement whether this machine meets it, and what to do where it does not
    Check(CheckOptions),
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// What to launch.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartOptions {
    /// The kernel's ELF file [default: /usr/lib/plinth/kernel]
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The extension's ELF file, however it was built [default: /usr/lib/plinth/extensions/default]
    #[arg(long, value_name = "FILE")]
    pub extension: Option<PathBuf>,
    /// The hypervisor's memory, in one piece: a number of MiB, or with K, M or G [default: 32M]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// What goes into the log [default: info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Who may stop Plinth [default: always]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub stop: Option<StopPolicy>,
    /// Milliseconds that a turn of the extension may take, 0 for no bound [default: the kernel's]
    #[arg(long, value_name = "MILLISECONDS")]
    pub watchdog: Option<u64>,
    /// A further option for the kernel, KEY=VALUE; may be given several times
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = kernel_option)]
    pub options: Vec<String>,
    /// Go on although another hypervisor runs below this Linux
    #[arg(long)]
    pub nested: bool,
    /// Also write the log to a console: a 16550 at this I/O port (x86), which must not be in use otherwise
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub console: Option<u16>,
}

impl StartOptions {
    /// These options, and the others' where there are none.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            kernel: self.kernel.or(other.kernel),
            extension: self.extension.or(other.extension),
            memory: self.memory.or(other.memory),
            log_level: self.log_level.or(other.log_level),
            stop: self.stop.or(other.stop),
            watchdog: self.watchdog.or(other.watchdog),
            options: if self.options.is_empty() { other.options } else { self.options },
            nested: self.nested || other.nested,
            console: self.console.or(other.console),
        }
    }
}

/// What to trace.
#[derive(Clone, Debug, Args)]
pub struct TraceOptions {
    /// How long; Ctrl-C ends it sooner
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    pub duration: f64,
    /// Only exits of these classes, such as id-read,register-write [default: all]
    #[arg(long, value_name = "CLASS,...", value_delimiter = ',')]
    pub classes: Vec<String>,
    /// The file for a viewer; none: only the summary
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The file's format
    #[arg(long, value_enum, default_value = "perfetto", value_name = "FORMAT")]
    pub format: TraceFormat,
    /// Lines of each table of the summary
    #[arg(long, default_value_t = 10, value_name = "LINES")]
    pub top: usize,
}

/// What viewers open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// ui.perfetto.dev
    Perfetto,
    /// chrome://tracing, Perfetto, Speedscope
    Chrome,
    /// A table
    Csv,
}

/// What to check.
#[derive(Clone, Debug, Default, Args)]
pub struct CheckOptions {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    /// The kernel's ELF file [default: /usr/lib/plinth/kernel]
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The extension's ELF file [default: /usr/lib/plinth/extensions/default]
    #[arg(long, value_name = "FILE")]
    pub extension: Option<PathBuf>,
}

/// The log's levels; the number is the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it, and a comment would be a line of the help")]
pub enum LogLevel {
    Off = 0,
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
    Trace = 5,
}

/// Who may have the bare machine back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopPolicy {
    /// `vmmctl stop`, whatever the extension says
    Always,
    /// The extension decides; where it is gone, `vmmctl stop` may
    Extension,
    /// Nobody, until the next boot
    Never,
}

impl StopPolicy {
    /// The word of the kernel's option `may-stop`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Extension => "extension",
            Self::Never => "never",
        }
    }
}

/// One word of the kernel's command line.
fn kernel_option(text: &str) -> Result<String, String> {
    let is_word = text.chars().all(|c| c.is_ascii_graphic());
    match text.split_once('=') {
        Some((key, _)) if is_word && !key.is_empty() => Ok(text.to_owned()),
        _ => Err("an option is one word, KEY=VALUE".to_owned()),
    }
}

/// A time.
fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds));
    number.ok_or_else(|| "a time is a number of seconds, at most 86400".to_owned())
}

/// An I/O port, decimal or with 0x.
fn port(text: &str) -> Result<u16, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "a port is a number from 0 to 0xffff".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_the_kernel_are_words() {
        for bad in ["", "=", "=on", "watchdog", "a=b c=d", "a=b\n", "a=\u{7f}"] {
            assert!(kernel_option(bad).is_err(), "{bad:?}");
        }
        assert_eq!(kernel_option("vhe=off").as_deref(), Ok("vhe=off"));
        assert!(port("0x10000").is_err() && port("COM1").is_err());
        assert_eq!(port("0x3f8"), Ok(0x3f8));
        assert!(seconds("-1").is_err() && seconds("nan").is_err() && seconds("1e9").is_err());
        assert_eq!(seconds("0.5"), Ok(0.5));
    }
}
