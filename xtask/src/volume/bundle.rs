//! The one file of `loaders/arm64-image`, made of the files of a volume.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use plinth_arm64_image::archive::Kind;
use plinth_arm64_image::pack;

/// A file of the volume, by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The loader.
    Loader,
    /// The kernel.
    Kernel,
    /// The extension.
    Extension,
    /// What runs as the root VM.
    Payload,
    /// Its initial RAM disk.
    Initrd,
    /// Its arguments.
    CommandLine,
    /// The loader's settings.
    Settings,
    /// The kernel's own command line.
    Options,
    /// The board's device tree, which lies beside the file.
    DeviceTree,
    /// A device tree in the file, which goes before the firmware's.
    OwnTree,
}

impl Part {
    /// The name of its file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Kernel => "plinth",
            Self::Extension => "extension",
            Self::Payload => "vmlinuz",
            Self::Initrd => "initrd.img",
            Self::CommandLine => "cmdline",
            Self::Settings => "settings",
            Self::Options => "options",
            Self::DeviceTree => "board.dtb",
            Self::OwnTree => "own.dtb",
        }
    }
}

/// What the archive calls the parts behind the loader.
const PARTS: [(Part, Kind); 8] = [
    (Part::Kernel, Kind::Kernel),
    (Part::Extension, Kind::Extension),
    (Part::Payload, Kind::Payload),
    (Part::Initrd, Kind::Initrd),
    (Part::CommandLine, Kind::CommandLine),
    (Part::Settings, Kind::Settings),
    (Part::Options, Kind::Options),
    (Part::OwnTree, Kind::DeviceTree),
];

/// The loader with every part that there is.
pub(super) fn pack(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let loader = files.get(Part::Loader.name()).context("the boot file has no loader")?;
    let parts = PARTS.iter().filter_map(|(part, kind)| Some((*kind, files.get(part.name())?.as_slice())));
    let parts: Vec<_> = parts.collect();
    pack::pack(loader, &parts).map_err(|error| anyhow!("the loader is not as expected: {error}"))
}
