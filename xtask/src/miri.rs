//! `cargo xtask miri`: the host tests that Miri can run, an interpreter which notices undefined behaviour and data races.
//!
//! It takes a nightly compiler, so that `cargo xtask test` runs it only where that is installed. Left out is what it cannot
//! run in any decent time, such as the software machine with its threads, and properties with thousands of cases each. The
//! kernel has no unsafe code that it could say anything about.

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::workspace::Workspace;

/// What installs it.
const INSTALL: &str = "rustup toolchain install nightly --component miri --component rust-src";

/// The tests: what `cargo test` is asked for.
const TESTS: &[&[&str]] = &[
    &["--package", "plinth-hal", "--lib", "--", "--skip", "model"],
    &["--package", "plinth-extension-api", "--lib"],
    &["--package", "plinth-launch", "--test", "image"],
];

/// Runs them.
pub(crate) fn miri(workspace: &Workspace) -> Result<()> {
    if !is_installed(&workspace.shell) {
        bail!("Miri is not installed here; `{INSTALL}` does that where the network allows");
    }
    run(workspace)
}

/// Runs them where Miri is installed, and says so where it is not.
pub(crate) fn miri_if_installed(workspace: &Workspace) -> Result<()> {
    if is_installed(&workspace.shell) {
        return run(workspace);
    }
    println!("left out: the host tests in Miri, which is not installed; `{INSTALL}` does that");
    Ok(())
}

fn is_installed(shell: &Shell) -> bool {
    let version =
        cmd!(shell, "rustup run nightly cargo miri --version").quiet().ignore_stdout().ignore_stderr();
    version.run().is_ok()
}

fn run(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    for tests in TESTS.iter().copied() {
        cmd!(shell, "rustup run nightly cargo miri test --quiet {tests...}")
            .env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .env("CARGO_TARGET_DIR", workspace.root.join("target/miri"))
            .run()
            .context("Miri has found something")?;
    }
    Ok(())
}
