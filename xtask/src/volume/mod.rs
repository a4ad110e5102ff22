//! The boot volume: the files that the firmware and the loader read, as a folder or as a FAT image.
//!
//! It is put together in memory, so that a test can break a file before it is written.

mod config;
mod fat;

pub(crate) use config::Config;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Files by their path from the volume's root, `/` separated.
#[derive(Debug, Default)]
pub(crate) struct Volume {
    files: BTreeMap<String, Vec<u8>>,
}

impl Volume {
    /// Adds a file. Two of one name, which FAT compares without case, are an error.
    pub(crate) fn add(&mut self, path: String, content: Vec<u8>) -> Result<()> {
        if self.files.keys().any(|known| known.eq_ignore_ascii_case(&path)) {
            bail!("two files of the boot volume are called {path}; rename the one you gave");
        }
        self.files.insert(path, content);
        Ok(())
    }

    /// A file's content, to break it.
    pub(crate) fn content(&mut self, path: &str) -> Option<&mut Vec<u8>> {
        self.files.get_mut(path)
    }

    /// Removes a file; whether it was there.
    pub(crate) fn remove(&mut self, path: &str) -> bool {
        self.files.remove(path).is_some()
    }

    /// Writes the volume as a folder, replacing what the folder held.
    pub(crate) fn write_folder(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot replace {}", folder.display()))?;
        }
        for (path, content) in &self.files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Writes the volume as a FAT file system without partitions.
    pub(crate) fn write_fat(&self, path: &Path) -> Result<()> {
        fat::write(path, &self.files)
            .with_context(|| format!("cannot write the FAT image {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fat_cannot_tell_apart_are_refused() {
        let mut volume = Volume::default();
        volume.add("EFI/BOOT/plinth".to_owned(), vec![]).unwrap();
        assert!(volume.add("EFI/BOOT/Plinth".to_owned(), vec![]).is_err());
    }

    #[test]
    fn a_folder_is_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("volume");
        let mut volume = Volume::default();
        volume.add("EFI/a".to_owned(), b"a".to_vec()).unwrap();
        volume.write_folder(&folder).unwrap();
        assert!(volume.remove("EFI/a") && !volume.remove("EFI/a"));
        volume.add("EFI/b".to_owned(), b"b".to_vec()).unwrap();
        volume.write_folder(&folder).unwrap();
        assert!(!folder.join("EFI/a").exists() && fs::read(folder.join("EFI/b")).unwrap() == b"b");
    }
}
