//! Boards are data: a folder with a manifest each. This module says what a manifest may hold.

mod manifest;

pub(crate) use manifest::{all, find};

use std::path::{Path, PathBuf};

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
    /// The board that `cargo xtask bench` measures in its place: the same processor with firmware that starts the guest.
    pub(crate) bench: Option<String>,
    /// The device tree, where neither firmware nor emulator brings one.
    pub(crate) device_tree: Option<DeviceTree>,
    /// The firmware finds the loader's file on a disk, by an `extlinux.conf`; else the emulator puts it into memory.
    #[serde(default)]
    pub(crate) extlinux: bool,
    /// How to run it on a developer's machine. A board without one needs hardware.
    pub(crate) emulator: Option<Emulator>,
}

/// The loaders that there are, by the names of their folders.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Loader {
    /// `loaders/uefi`: an EFI application.
    Uefi,
    /// `loaders/multiboot2`: started by GRUB on a BIOS PC.
    Multiboot2,
    /// `loaders/arm64-image`: a file that boots as an arm64 Linux Image does.
    Arm64Image,
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

/// A board's device tree, as Debian's kernel packages have them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceTree {
    /// The Debian package.
    pub(crate) package: String,
    /// The file's name in it, without its folder.
    pub(crate) file: String,
}

/// The emulated machine that stands for the board.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Emulator {
    /// QEMU.
    Qemu(Box<Qemu>),
    /// Bochs, for Intel's VMX.
    Bochs(Bochs),
}

/// A machine of QEMU's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Qemu {
    /// The program.
    pub(crate) program: String,
    /// The Debian package it comes from.
    pub(crate) package: String,
    /// The packages, `package` among them, that have the machine in the release's backports, where the installed program
    /// is too old for it.
    #[serde(default)]
    pub(crate) backports: Vec<String>,
    /// `-machine`.
    pub(crate) machine: String,
    /// `-machine` for a run without Plinth, where that differs.
    pub(crate) bare_machine: Option<String>,
    /// `-cpu`, for a machine that has a choice.
    pub(crate) cpu: Option<String>,
    /// The device that disks are.
    #[serde(default = "disk")]
    pub(crate) disk: String,
    /// Which of the machine's serial ports is the console: 0 for the first.
    #[serde(default)]
    pub(crate) serial: usize,
    /// How many CPUs by default.
    pub(crate) cpus: u32,
    /// How much memory by default, in MiB.
    pub(crate) memory: u32,
    /// What else it needs.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    /// What a Linux payload must be told because the machine lacks what the board has.
    pub(crate) cmdline: Option<String>,
    /// The firmware, where it is not QEMU's own.
    pub(crate) firmware: Option<Firmware>,
}

fn disk() -> String {
    "ide-hd".to_owned()
}

/// A machine of Bochs'. It is always an Intel PC; the manifest picks the processor and the firmware.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bochs {
    /// The processor, one of those that `bochs -help cpu` lists.
    pub(crate) model: String,
    /// How many CPUs by default.
    pub(crate) cpus: u32,
    /// How much memory by default, in MiB.
    pub(crate) memory: u32,
    /// The firmware's ROM.
    pub(crate) firmware: PathBuf,
    /// The Debian package that the ROM comes from.
    pub(crate) firmware_package: String,
}

/// Firmware as Debian packages it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Firmware {
    /// The code, read only.
    pub(crate) code: PathBuf,
    /// UEFI variables' initial content, where the firmware is in two flash chips. Every run starts from it.
    pub(crate) variables: Option<PathBuf>,
    /// The Debian package they come from.
    pub(crate) package: String,
}

/// What an emulator needs on the developer's machine.
pub(crate) struct Need<'a> {
    /// A program on the search path, or a file.
    pub(crate) what: &'a Path,
    /// The Debian package that has it.
    pub(crate) package: &'a str,
}

impl Emulator {
    /// How many CPUs by default.
    pub(crate) const fn cpus(&self) -> u32 {
        match self {
            Self::Qemu(qemu) => qemu.cpus,
            Self::Bochs(bochs) => bochs.cpus,
        }
    }

    /// How much memory by default, in MiB.
    pub(crate) const fn memory(&self) -> u32 {
        match self {
            Self::Qemu(qemu) => qemu.memory,
            Self::Bochs(bochs) => bochs.memory,
        }
    }

    /// What a Linux payload must be told that runs on it.
    pub(crate) fn cmdline(&self) -> Option<&str> {
        match self {
            Self::Qemu(qemu) => qemu.cmdline.as_deref(),
            Self::Bochs(_) => None,
        }
    }

    /// What it is, in one line.
    pub(crate) fn describe(&self) -> String {
        let size = format!("{} CPUs, {} MiB", self.cpus(), self.memory());
        match self {
            Self::Qemu(qemu) => {
                let cpu = qemu.cpu.as_ref().map(|cpu| format!(" -cpu {cpu}")).unwrap_or_default();
                format!("{} -machine {}{cpu}, {size}", qemu.program, qemu.machine)
            }
            Self::Bochs(bochs) => format!("bochs, {}, {size}", bochs.model),
        }
    }

    /// The programs and files that it takes.
    pub(crate) fn needs(&self) -> Vec<Need<'_>> {
        match self {
            Self::Qemu(qemu) => {
                let mut needs = vec![Need { what: Path::new(&qemu.program), package: &qemu.package }];
                if let Some(firmware) = &qemu.firmware {
                    let files = std::iter::once(&firmware.code).chain(&firmware.variables);
                    needs.extend(files.map(|what| Need { what, package: &firmware.package }));
                }
                needs
            }
            Self::Bochs(bochs) => vec![
                Need { what: Path::new("bochs"), package: "bochs" },
                Need { what: Path::new("/usr/share/vgabios/vgabios.bin"), package: "vgabios" },
                Need { what: &bochs.firmware, package: &bochs.firmware_package },
            ],
        }
    }
}

impl Loader {
    /// Every loader.
    pub(crate) const ALL: [Self; 3] = [Self::Uefi, Self::Multiboot2, Self::Arm64Image];

    /// The package that makes the loader.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::Uefi => "plinth-loader-uefi",
            Self::Multiboot2 => "plinth-loader-multiboot2",
            Self::Arm64Image => "plinth-loader-arm64-image",
        }
    }

    /// The file that the package makes.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Uefi => "plinth-uefi.efi",
            Self::Multiboot2 => "plinth-multiboot2",
            Self::Arm64Image => "plinth-arm64-image",
        }
    }

    /// The programs and files that it takes to write its boot volume.
    pub(crate) fn needs(self) -> Vec<Need<'static>> {
        let need = |what: &'static str, package| Need { what: Path::new(what), package };
        match self {
            Self::Uefi | Self::Arm64Image => Vec::new(),
            Self::Multiboot2 => vec![
                need("grub-mkrescue", "grub-common"),
                need("/usr/lib/grub/i386-pc/multiboot2.mod", "grub-pc-bin"),
                need("xorriso", "xorriso"),
                need("mformat", "mtools"),
            ],
        }
    }

    /// The loader's name in a manifest.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uefi => "uefi",
            Self::Multiboot2 => "multiboot2",
            Self::Arm64Image => "arm64-image",
        }
    }
}

impl Board {
    /// The triple's processor architecture: its first part.
    pub(crate) fn architecture(&self) -> &str {
        self.triple.split('-').next().unwrap_or_default()
    }

    /// What Debian calls that architecture.
    pub(crate) fn debian_architecture(&self) -> anyhow::Result<&'static str> {
        match self.architecture() {
            "x86_64" => Ok("amd64"),
            "aarch64" => Ok("arm64"),
            other => {
                anyhow::bail!("board {}: Debian has no kernel for {other}; correct its triple", self.name)
            }
        }
    }

    /// The target that the loader is built for.
    pub(crate) fn loader_triple(&self) -> String {
        match self.loader {
            Loader::Uefi => format!("{}-unknown-uefi", self.architecture()),
            Loader::Multiboot2 | Loader::Arm64Image => self.triple.clone(),
        }
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
