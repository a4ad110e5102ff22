//! How programs for Linux are built: with their libraries in them, so that they run in any root.

use std::path::Path;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::toolchain;

/// How they are built for one kind of machine.
pub(crate) struct LinuxTarget {
    /// Rust's target.
    pub(crate) triple: String,
    /// More of cargo's options.
    pub(crate) options: Vec<String>,
}

impl LinuxTarget {
    /// By musl and the linker, which come with Rust: no C compiler or library for that machine need be here. Where rustup has no
    /// musl, programs for this machine get its own C library, and the user is told.
    pub(crate) fn of(shell: &Shell, architecture: &str) -> Result<Self> {
        let musl = format!("{architecture}-unknown-linux-musl");
        if toolchain::is_prebuilt(shell, &musl) {
            return Ok(Self::with(musl, "linker='rust-lld'"));
        }
        if architecture != std::env::consts::ARCH {
            bail!(
                "no Rust toolchain here builds programs for {musl}; `rustup target add {musl}` is the remedy"
            );
        }
        println!(
            "no Rust target {musl} here: programs get this machine's C library; `rustup target add {musl}` is better"
        );
        let own = format!("{architecture}-unknown-linux-gnu");
        Ok(Self::with(own, "rustflags=['-Ctarget-feature=+crt-static']"))
    }

    fn with(triple: String, setting: &str) -> Self {
        let setting = format!("target.{triple}.{setting}");
        Self { triple, options: vec!["--config".to_owned(), setting] }
    }

    /// Builds the workspace's packages without symbols, since the RAM disks that hold the programs are unpacked by slow emulators,
    /// and without optimization across crates, which takes minutes.
    pub(crate) fn build(&self, shell: &Shell, packages: &[&str]) -> Result<()> {
        let Self { triple, options } = self;
        let strip = format!("target.{triple}.rustflags=['-Cstrip=symbols']");
        let packages = packages.iter().flat_map(|package| ["--package", package]);
        let build = cmd!(shell, "cargo build --release --target {triple} {packages...} {options...}");
        let build =
            build.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        Ok(build.args(["--config", &strip]).quiet().run()?)
    }

    /// Where cargo puts a program, below its target folder.
    pub(crate) fn file(&self, target: &Path, name: &str) -> std::path::PathBuf {
        target.join(&self.triple).join("release").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_rust_does_not_know_is_refused_with_the_remedy() {
        let error = LinuxTarget::of(&Shell::new().unwrap(), "pdp11").err().unwrap().to_string();
        assert!(error.contains("rustup target add pdp11-unknown-linux-musl"), "{error}");
    }
}
