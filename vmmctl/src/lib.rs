//! `vmmctl` launches Plinth below the Linux that it runs on, and gives the machine back.
//!
//! It reads the kernel's and the extension's file, places them in memory that the module behind `/dev/plinth` reserves, and
//! asks that module to call the kernel's entry on every CPU ([`start`]). Everything that needs privilege of the processor is the
//! module's; everything that needs a decision or a file is done here.
//!
//! Each subcommand is a module of its own. [`device`] is the module's interface, and a trait so that tests can stand for it;
//! [`host`] is what Linux tells of the machine in /proc and /sys.

mod check;
mod cli;
pub mod device;
mod device_tree;
mod dump;
mod extra;
mod failure;
pub mod host;
mod hypervisor;
mod interrupted;
mod last_start;
mod log;
mod manual;
mod reasons;
mod size;
mod start;
mod status;
mod stop;
mod symbols;
mod top;
mod trace;

pub use cli::{Cli, Command, StartOptions, StopPolicy};
pub use failure::{Failure, USAGE};
pub use size::Size;

use std::io::Write;

use device::Device;
use host::Host;

/// How a command gets at the module: [`device::open`], or a test's own.
pub type Open<'a> = &'a dyn Fn(&Host) -> Result<Box<dyn Device>, Failure>;

/// Runs a command. Returns the exit code of one that could say what it was asked.
///
/// # Errors
/// [`Failure`] says what happened, why, and what to do.
pub fn run(cli: &Cli, host: &Host, open: Open<'_>, out: &mut dyn Write) -> Result<u8, Failure> {
    match &cli.command {
        Command::Start(options) => start::start(options, host, &mut *open(host)?, out),
        Command::Stop { force } => stop::stop(*force, &mut *open(host)?, out),
        Command::Restart(options) => start::restart(options, host, &mut *open(host)?, out),
        Command::Status { json } => status::status(*json, &mut *open(host)?, out),
        Command::Dump { follow, json } => dump::dump(*follow, *json, &mut *open(host)?, out),
        Command::Trace(options) => trace::trace(options, host, &mut *open(host)?, out),
        Command::Top { interval } => top::top(*interval, &mut *open(host)?),
        Command::Check(options) => check::check(options, host, open(host), out),
        Command::Completions { shell } => manual::completions(*shell, out),
        Command::Man => manual::page(out),
    }
}
