//! Plinth's developer tool: one program that sets up, builds, runs, debugs, tests and measures.
//!
//! It exists so that a fresh machine needs two commands, a clone and `cargo xtask run`, and so that CI and
//! a person at a desk do exactly the same things. It is ordinary Rust, run through a cargo alias, so that no
//! shell, make or Python of a certain version is asked for.

#![forbid(unsafe_code)]

mod abi;
mod artifacts;
mod bench;
mod board;
mod boards;
mod boot;
mod c_extensions;
mod cli;
mod debian;
mod debug;
mod deny;
mod emulator;
mod image;
mod lint;
mod linux;
mod linux_programs;
mod miri;
mod new_extension;
mod package;
mod panics;
mod payload;
mod progress;
mod run;
mod setup;
mod test;
mod toolchain;
mod volume;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use workspace::Workspace;

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    let workspace = Workspace::open()?;
    match command {
        Command::Setup(options) => setup::setup(&workspace, &options),
        Command::Boards => boards::list(&workspace),
        Command::NewExtension(options) => new_extension::new_extension(&workspace, &options),
        Command::Build(options) => artifacts::build_command(&workspace, &options),
        Command::Package(options) => package::command(&workspace, &options),
        Command::Image(options) => image::image(&workspace, &options),
        Command::Run(options) => run::run(&workspace, &options),
        Command::Debug(options) => debug::debug(&workspace, &options),
        Command::Test(options) => test::test(&workspace, &options),
        Command::Lint => lint::lint(&workspace),
        Command::Abi(options) => abi::abi(&workspace, &options),
        Command::Panics => panics::panics(&workspace),
        Command::Miri => miri::miri(&workspace),
        Command::Bench(options) => bench::bench(&workspace, &options),
    }
}
