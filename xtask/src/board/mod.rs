//! Boards are data: a folder with a manifest each. This module says what a manifest may hold.

mod manifest;

pub(crate) use manifest::{all, find};

use std::path::PathBuf;

use serde::Deserialize;

/// A `board.toml`, with the name of its folder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Board {
    /// The folder's name.
    #[serde(skip)]
    pub(crate) name: String,
    /// What it is, in one line.
    pub(crate) description: String,
    /// The Rust target that kernel and extensions are built for.
    pub(crate) triple: String,
    /// The package that makes the kernel's image.
    pub(crate) kernel: String,
    /// What brings the kernel into memory.
    pub(crate) loader: Loader,
    /// Where the console is, for people.
    pub(crate) console: String,
    /// What the project's tests show about this board, for people.
    #[serde(default)]
    pub(crate) tested: Vec<String>,
    /// What is booted when the user names nothing. Without it, the loader starts the next boot entry.
    pub(crate) payload: Option<DefaultPayload>,
    /// How to run it on a developer's machine. A board without one needs hardware.
    pub(crate) emulator: Option<Emulator>,
}

/// The loaders that there are, by the names of their folders.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Loader {
    /// `loaders/uefi`: an EFI application.
    Uefi,
}

/// The guest that a board boots by default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefaultPayload {
    /// The Debian package with the kernel.
    pub(crate) package: String,
    /// The kernel's command line.
    pub(crate) cmdline: String,
}

/// The QEMU machine that stands for the board.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Emulator {
    /// The program.
    pub(crate) program: String,
    /// The Debian package it comes from.
    pub(crate) package: String,
    /// `-machine`.
    pub(crate) machine: String,
    /// `-accel`.
    pub(crate) accelerator: String,
    /// `-cpu`.
    pub(crate) cpu: String,
    /// How many CPUs by default.
    pub(crate) cpus: u32,
    /// How much memory by default, in MiB.
    pub(crate) memory: u32,
    /// What else it needs.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    /// The firmware in its two flash chips.
    pub(crate) firmware: Firmware,
}

/// UEFI firmware as Debian packages it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Firmware {
    /// The code, read only.
    pub(crate) code: PathBuf,
    /// The variables' initial content. Every run starts from it.
    pub(crate) variables: PathBuf,
    /// The Debian package they come from.
    pub(crate) package: String,
}

impl Loader {
    /// The package that makes the loader.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::Uefi => "plinth-loader-uefi",
        }
    }

    /// The file that the package makes.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Uefi => "plinth-uefi.efi",
        }
    }

    /// The loader's name in a manifest.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uefi => "uefi",
        }
    }
}

impl Board {
    /// The triple's processor architecture: its first part.
    pub(crate) fn architecture(&self) -> &str {
        self.triple.split('-').next().unwrap_or_default()
    }

    /// The target that the loader and guest test applications are built for.
    pub(crate) fn firmware_triple(&self) -> String {
        format!("{}-unknown-uefi", self.architecture())
    }

    /// The emulator, or an error that says what to do with a board that has none.
    pub(crate) fn emulator(&self) -> anyhow::Result<&Emulator> {
        self.emulator.as_ref().ok_or_else(|| {
            let name = &self.name;
            anyhow::anyhow!(
                "board {name} has no emulator, it is hardware; `cargo xtask image --board {name}` makes its boot volume"
            )
        })
    }
}
