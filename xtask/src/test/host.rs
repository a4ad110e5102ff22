//! The host part: formatting, lints and the tests that need no emulator.

use anyhow::{Context, Result};
use xshell::cmd;

use crate::board::Loader;
use crate::toolchain::{self, Toolchain};
use crate::workspace::Workspace;
use crate::{artifacts, board, lint, linux, panics};

/// Runs it all, stopping at the first that fails.
pub(super) fn run(workspace: &Workspace, full: bool) -> Result<()> {
    let shell = &workspace.shell;
    toolchain::add_lint_tools(shell)?;
    cmd!(shell, "cargo fmt --all --check").run().context("rustfmt would change files; run `cargo fmt`")?;
    lint::lint(workspace)?;
    cmd!(shell, "cargo clippy --all-targets -- -D warnings").run().context("clippy has something to say")?;
    freestanding(workspace)?;
    if plinth_machines::folder().is_none() {
        println!(
            "left out: tests with the tables of real machines; PLINTH_MACHINES can name a folder that has them"
        );
    }
    panics::panics(workspace)?;
    cmd!(shell, "cargo test --quiet")
        .env("PLINTH_FUZZ_CALLS", "1000000")
        .env("PLINTH_FEUD_CALLS", if full { "1000000" } else { "20000" })
        .run()
        .context("a host test failed")?;
    // No default members, since their programs only build for firmware; their libraries have host tests nevertheless.
    let loaders = Loader::ALL.into_iter().flat_map(|loader| ["--package", loader.package()]);
    cmd!(shell, "cargo test --quiet --lib {loaders...}").run().context("a host test of a loader failed")?;
    models(workspace)?;
    linux::check(workspace, full).context("Linux's module does not build")
}

/// What PPs tell each other, under the model checker. A build of its own: all of the kernel's atomics of that kind are
/// loom's there.
fn models(workspace: &Workspace) -> Result<()> {
    cmd!(workspace.shell, "cargo test --quiet --release --package plinth-kernel --lib models")
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", workspace.root.join("target/loom"))
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .run()
        .context("there is an order of accesses in which PPs misunderstand each other")
}

/// Clippy for what only builds for a board's targets.
fn freestanding(workspace: &Workspace) -> Result<()> {
    let boards = board::all(&workspace.root.join("boards"))?;
    for (package, triple) in artifacts::targets(workspace, &boards) {
        let clippy =
            Toolchain::for_target(&workspace.shell, &triple)?.cargo(&workspace.shell, "clippy", &triple);
        let clippy = clippy.args(["--release", "--package", package.name.as_str()]);
        let clippy = clippy.args(artifacts::features(package)).args(["--", "-D", "warnings"]);
        clippy.run().with_context(|| format!("clippy has something to say about {}", package.name))?;
    }
    Ok(())
}
