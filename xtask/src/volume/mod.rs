//! The boot volume: the files that firmware and loader read, and the forms in which they are written.
//!
//! It is put together in memory, so that a test can break a file before it is written.

mod bundle;
mod config;
mod fat;
mod flat;
mod iso;

pub(crate) use bundle::Part;
pub(crate) use config::Config;
pub(crate) use flat::flat;
pub(crate) use iso::GRUB_CONFIG;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The one file of `loaders/arm64-image`.
const BUNDLE: &str = "plinth.img";
/// Where U-Boot looks for what to boot.
const EXTLINUX: &str = "extlinux/extlinux.conf";
/// U-Boot passes its own device tree where none is named.
const EXTLINUX_CONFIG: &str = "default plinth\ntimeout 1\nlabel plinth\n    kernel /plinth.img\n";

/// How a volume is written for its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// A FAT file system without partitions, for UEFI firmware.
    #[default]
    Fat,
    /// A CD that BIOS firmware boots GRUB from.
    Iso,
    /// One file that is entered as an arm64 Linux Image.
    Bundle,
    /// That file on a FAT file system, with an `extlinux.conf` by which U-Boot finds it.
    Extlinux,
    /// Loose files: a Linux kernel that the emulator itself starts, for comparison.
    Linux,
}

/// What a machine boots from, as written.
#[derive(Clone, Debug)]
pub(crate) enum Medium {
    /// A disk's image.
    Disk(PathBuf),
    /// A CD's image.
    Cd(PathBuf),
    /// A kernel that is put into memory, with its initial RAM disk and the file that holds its arguments.
    Kernel {
        /// The kernel.
        image: PathBuf,
        /// The initial RAM disk.
        initrd: Option<PathBuf>,
        /// The board's device tree.
        device_tree: Option<PathBuf>,
        /// The arguments.
        command_line: Option<String>,
    },
}

/// Files by their name, all in the folder that the format wants them in.
#[derive(Debug, Default)]
pub(crate) struct Volume {
    format: Format,
    files: BTreeMap<String, Vec<u8>>,
}

impl Format {
    /// The folder of all files.
    const fn folder(self) -> &'static str {
        match self {
            // The folder that firmware looks into for a loader, and the loader for its files.
            Self::Fat => "EFI/BOOT/",
            Self::Iso => "boot/",
            Self::Bundle | Self::Extlinux | Self::Linux => "",
        }
    }
}

impl Volume {
    /// A volume without files.
    pub(crate) const fn new(format: Format) -> Self {
        Self { format, files: BTreeMap::new() }
    }

    /// Adds a file. Two of one name, which FAT compares without case, are an error.
    pub(crate) fn add(&mut self, name: &str, content: Vec<u8>) -> Result<()> {
        if self.files.keys().any(|known| known.eq_ignore_ascii_case(name)) {
            bail!("two files of the boot volume are called {name}; rename the one you gave");
        }
        self.files.insert(name.to_owned(), content);
        Ok(())
    }

    /// A file's content, to break it.
    pub(crate) fn content(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        self.files.get_mut(name)
    }

    /// Removes a file; whether it was there.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.files.remove(name).is_some()
    }

    /// The files by their path from the volume's root, `/` separated.
    fn paths(&self) -> BTreeMap<String, &[u8]> {
        let folder = self.format.folder();
        self.files.iter().map(|(name, content)| (format!("{folder}{name}"), content.as_slice())).collect()
    }

    /// Writes the files into a folder, replacing what it held.
    pub(crate) fn write_folder(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot replace {}", folder.display()))?;
        }
        fs::create_dir_all(folder)?;
        for (path, content) in self.paths() {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Writes the volume into `folder`, in the form that its machine boots.
    pub(crate) fn write(&self, folder: &Path) -> Result<Medium> {
        match self.format {
            Format::Fat => {
                let path = folder.join("volume.img");
                fat::write(&path, &self.paths())
                    .with_context(|| format!("cannot write the FAT image {}", path.display()))?;
                Ok(Medium::Disk(path))
            }
            Format::Iso => {
                let path = folder.join("volume.iso");
                let tree = folder.join("tree");
                self.write_folder(&tree)?;
                iso::write(&path, &tree)?;
                fs::remove_dir_all(&tree)?;
                Ok(Medium::Cd(path))
            }
            Format::Bundle => {
                let path = folder.join(BUNDLE);
                fs::write(&path, bundle::pack(&self.files)?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                let device_tree = self.write_device_tree(folder)?;
                Ok(Medium::Kernel { image: path, initrd: None, device_tree, command_line: None })
            }
            Format::Extlinux => {
                let path = folder.join("volume.img");
                let bundle = bundle::pack(&self.files)?;
                let files = [(BUNDLE, bundle.as_slice()), (EXTLINUX, EXTLINUX_CONFIG.as_bytes())];
                fat::write(&path, &files.map(|(name, content)| (name.to_owned(), content)).into())
                    .with_context(|| format!("cannot write the FAT image {}", path.display()))?;
                Ok(Medium::Disk(path))
            }
            Format::Linux => self.write_linux(folder),
        }
    }

    fn write_device_tree(&self, folder: &Path) -> Result<Option<PathBuf>> {
        let Some(content) = self.files.get(Part::DeviceTree.name()) else { return Ok(None) };
        let path = folder.join(Part::DeviceTree.name());
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Some(path))
    }

    fn write_linux(&self, folder: &Path) -> Result<Medium> {
        let folder = folder.join("linux");
        self.write_folder(&folder)?;
        let file = |part: Part| self.files.contains_key(part.name()).then(|| folder.join(part.name()));
        let command_line = self.files.get(Part::CommandLine.name());
        Ok(Medium::Kernel {
            image: folder.join(Part::Payload.name()),
            initrd: file(Part::Initrd),
            device_tree: file(Part::DeviceTree),
            command_line: command_line.map(|text| String::from_utf8_lossy(text).into_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fat_cannot_tell_apart_are_refused() {
        let mut volume = Volume::default();
        volume.add("plinth", vec![]).unwrap();
        assert!(volume.add("Plinth", vec![]).is_err());
    }

    #[test]
    fn a_folder_is_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("volume");
        let mut volume = Volume::new(Format::Fat);
        volume.add("a", b"a".to_vec()).unwrap();
        volume.write_folder(&folder).unwrap();
        assert!(volume.remove("a") && !volume.remove("a"));
        volume.add("b", b"b".to_vec()).unwrap();
        volume.write_folder(&folder).unwrap();
        assert!(!folder.join("EFI/BOOT/a").exists() && fs::read(folder.join("EFI/BOOT/b")).unwrap() == b"b");
    }

    #[test]
    fn loose_files_are_a_kernel_and_what_it_is_started_with() {
        let scratch = tempfile::tempdir().unwrap();
        let mut volume = Volume::new(Format::Linux);
        volume.add(Part::Payload.name(), b"kernel".to_vec()).unwrap();
        volume.add(Part::CommandLine.name(), b"quiet".to_vec()).unwrap();
        let Medium::Kernel { image, initrd, command_line, .. } = volume.write(scratch.path()).unwrap() else {
            panic!("not a kernel")
        };
        assert_eq!(fs::read(image).unwrap(), b"kernel");
        assert_eq!((initrd, command_line.as_deref()), (None, Some("quiet")));
    }
}
