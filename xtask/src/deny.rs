//! `cargo deny check`: licences, advisories and sources of the dependencies, held to `deny.toml`.
//!
//! The program is one more to install, and its list of advisories comes over the network, so that `cargo xtask test` runs it
//! only where it is installed. That each crate and its licence stand in docs/dependencies.md is a host test, which needs neither.

use anyhow::{Context, Result};
use xshell::cmd;

use crate::workspace::Workspace;

/// What installs it.
const INSTALL: &str = "cargo install --locked cargo-deny";

/// Runs it where it is installed, and says so where it is not.
pub(crate) fn deny_if_installed(workspace: &Workspace) -> Result<()> {
    let shell = &workspace.shell;
    let version = cmd!(shell, "cargo deny --version").quiet().ignore_stdout().ignore_stderr();
    if version.run().is_err() {
        println!("left out: `cargo deny check`, which is not installed; `{INSTALL}` does that");
        return Ok(());
    }
    cmd!(shell, "cargo deny --log-level warn check licenses bans sources advisories")
        .run()
        .context("a dependency breaks a rule of deny.toml; each finding above names the crate and the rule")
}
