//! The Rust side of the setup: a compiler that can build for the boards' targets.
//!
//! The ordinary way is rustup with prebuilt targets. Where that cannot be had, the standard library's freestanding
//! part is built from its source, which a rustup toolchain or Debian's own packages provide.

use std::path::Path;

use anyhow::{Context, Result};
use xshell::{Cmd, Shell, cmd};

use crate::debian;
use crate::progress::Step;

/// Debian's compiler, its library source, and the linker that the freestanding targets name.
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "lld-22"];

/// How to build for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The target's library is installed.
    Prebuilt,
    /// The library is built from the toolchain's source.
    FromSource,
    /// As [`Self::FromSource`], with the compiler that Debian installs in /usr/bin.
    Debian,
}

impl Toolchain {
    /// Finds or installs what it takes to build for `triple`.
    pub(crate) fn for_target(shell: &Shell, triple: &str) -> Result<Self> {
        if is_prebuilt(shell, triple) {
            return Ok(Self::Prebuilt);
        }
        if has_source(shell, "rustc") || add_source(shell) {
            return Ok(Self::FromSource);
        }
        if !has_source(shell, "/usr/bin/rustc") {
            debian::install(shell, DEBIAN_PACKAGES)
                .with_context(|| format!("no Rust toolchain here can build for {triple}; `rustup target add {triple}` is the best remedy"))?;
        }
        Ok(Self::Debian)
    }

    /// `cargo COMMAND ARGS` for `triple`.
    pub(crate) fn cargo<'a>(self, shell: &'a Shell, command: &str, triple: &str) -> Cmd<'a> {
        let cargo = cmd!(shell, "cargo {command} --target {triple}");
        match self {
            Self::Prebuilt => cargo,
            Self::FromSource => from_source(cargo),
            Self::Debian => from_source(cmd!(shell, "/usr/bin/cargo {command} --target {triple}"))
                .env("PATH", debian_path()),
        }
    }
}

fn from_source(cargo: Cmd<'_>) -> Cmd<'_> {
    cargo
        .args(["-Zbuild-std=core,alloc,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"])
        .env("RUSTC_BOOTSTRAP", "1")
}

fn debian_path() -> String {
    format!("/usr/bin:{}", std::env::var("PATH").unwrap_or_default())
}

/// Whether the standard library for `triple` is there, or rustup could add it.
pub(crate) fn is_prebuilt(shell: &Shell, triple: &str) -> bool {
    has_library(shell, triple) || add_target(shell, triple)
}

fn has_library(shell: &Shell, triple: &str) -> bool {
    let folder = cmd!(shell, "rustc --print target-libdir --target {triple}").quiet().ignore_stderr().read();
    folder.is_ok_and(|folder| Path::new(&folder).is_dir())
}

fn has_source(shell: &Shell, rustc: &str) -> bool {
    let root = cmd!(shell, "{rustc} --print sysroot").quiet().ignore_stderr().read();
    root.is_ok_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/core").is_dir())
}

fn add_target(shell: &Shell, triple: &str) -> bool {
    rustup(shell, &format!("adding Rust target {triple}"), &["target", "add", triple])
}

fn add_source(shell: &Shell) -> bool {
    rustup(shell, "adding the Rust library's source", &["component", "add", "rust-src"])
}

/// Adds what `cargo fmt` and `cargo clippy` need.
pub(crate) fn add_lint_tools(shell: &Shell) -> Result<()> {
    if debian::has_program("cargo-fmt") && works(shell, "fmt") && works(shell, "clippy") {
        return Ok(());
    }
    if rustup(shell, "adding rustfmt and clippy", &["component", "add", "rustfmt", "clippy"]) {
        return Ok(());
    }
    debian::install(shell, &["rustfmt-web", "rust-web-clippy"])
}

fn works(shell: &Shell, command: &str) -> bool {
    cmd!(shell, "cargo {command} --version").quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

/// Whether rustup is there and did it. Failing is no error: there is another way.
fn rustup(shell: &Shell, text: &str, arguments: &[&str]) -> bool {
    if !debian::has_program("rustup") {
        return false;
    }
    let step = Step::new(text);
    let done = cmd!(shell, "rustup {arguments...}").quiet().ignore_stdout().ignore_stderr().run().is_ok();
    if done {
        step.done();
    }
    done
}
