//! Makes a FAT32 image without root rights or helper programs.
//!
//! Its only partition is all of it: firmware boots such a "superfloppy" from any disk or USB stick, and the same bytes
//! serve as a partition.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use anyhow::{Context, Result};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

const MIB: usize = 1 << 20;
/// FAT32 has at least 65,525 clusters; with the smallest of them that is 34 MiB.
const MINIMUM: usize = 48 * MIB;
const CLUSTER: u32 = 512;
/// A cylinder of 16 heads with 63 sectors each: Bochs takes whole ones only.
const CYLINDER: usize = 16 * 63 * 512;

/// Where a partition table begins, if the boot sector is one too.
const PARTITIONS: usize = 0x1BE;

/// Writes `files` as an image at `path`.
pub(crate) fn write(path: &Path, files: &BTreeMap<String, &[u8]>) -> Result<()> {
    let mut disk = Cursor::new(vec![0; size(files)]);
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).bytes_per_cluster(CLUSTER);
    fatfs::format_volume(&mut disk, options.volume_label(*b"PLINTH     "))?;
    fill(&mut disk, files)?;
    let mut image = disk.into_inner();
    let entry = whole_disk(image.len());
    image[PARTITIONS..PARTITIONS + entry.len()].copy_from_slice(&entry);
    fs::write(path, image)?;
    Ok(())
}

/// A partition that is the whole disk, as mtools writes it: U-Boot looks into partitions only. Other firmware finds the
/// file system either way.
fn whole_disk(size: usize) -> [u8; 16] {
    const BOOTABLE: u8 = 0x80;
    const FAT32_BY_BLOCKS: u8 = 0x0C;
    let mut entry = [BOOTABLE, 0, 1, 0, FAT32_BY_BLOCKS, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0];
    let sectors = u32::try_from(size / 512).unwrap_or(u32::MAX);
    entry[12..].copy_from_slice(&sectors.to_le_bytes());
    entry
}

/// Room for the files, the allocation tables and some more files of the user's.
fn size(files: &BTreeMap<String, &[u8]>) -> usize {
    let content: usize = files.values().map(|content| content.len().next_multiple_of(CLUSTER as usize)).sum();
    (content + content / 16 + 8 * MIB).max(MINIMUM).next_multiple_of(CYLINDER)
}

fn fill(disk: &mut Cursor<Vec<u8>>, files: &BTreeMap<String, &[u8]>) -> Result<()> {
    let volume = FileSystem::new(disk, FsOptions::new())?;
    let root = volume.root_dir();
    for (path, content) in files {
        for (end, _) in path.match_indices('/') {
            root.create_dir(&path[..end])?;
        }
        let mut file = root.create_file(path).with_context(|| format!("FAT cannot hold a file {path:?}"))?;
        file.write_all(content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_image_is_fat32_and_holds_the_files() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("volume.img");
        let large: Vec<u8> = (0..3 * MIB).map(|index| (index % 251) as u8).collect();
        let files = [("EFI/BOOT/BOOTX64.EFI".to_owned(), large.as_slice()), ("EFI/BOOT/a".to_owned(), &[])];
        write(&path, &files.into()).unwrap();
        let volume = FileSystem::new(
            fs::File::options().read(true).write(true).open(&path).unwrap(),
            FsOptions::new(),
        );
        let volume = volume.unwrap();
        assert_eq!(volume.fat_type(), FatType::Fat32);
        let mut content = Vec::new();
        volume.root_dir().open_file("efi/boot/bootx64.efi").unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content, large);
    }

    #[test]
    fn the_size_follows_the_content() {
        let content = vec![0; 100 * MIB];
        let files = [("a".to_owned(), content.as_slice())].into();
        assert!(size(&files) > 108 * MIB && size(&files) < 130 * MIB);
        assert!(size(&BTreeMap::new()) >= MINIMUM && size(&files).is_multiple_of(CYLINDER));
    }
}
