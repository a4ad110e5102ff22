//! `cargo xtask miri`: the host tests that Miri can run, an interpreter which notices undefined behaviour and data races.
//!
//! Not among the ordinary tests: it takes a nightly compiler, and minutes. Left out is what it cannot run in any decent
//! time, such as the software machine with its threads, and properties with thousands of cases each. The kernel has no
//! unsafe code that it could say anything about.

use anyhow::{Context, Result, bail};
use xshell::cmd;

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
    let shell = &workspace.shell;
    let there =
        cmd!(shell, "rustup run nightly cargo miri --version").quiet().ignore_stdout().ignore_stderr();
    if there.run().is_err() {
        bail!("Miri is not installed here; `{INSTALL}` does that where the network allows");
    }
    for tests in TESTS.iter().copied() {
        cmd!(shell, "rustup run nightly cargo miri test --quiet {tests...}")
            .env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .env("CARGO_TARGET_DIR", workspace.root.join("target/miri"))
            .run()
            .context("Miri has found something")?;
    }
    Ok(())
}
