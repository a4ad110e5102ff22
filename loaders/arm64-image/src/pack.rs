//! Putting the file together, on the host.

extern crate alloc;

use alloc::vec::Vec;

use plinth_launch::image::{Image, ImageError, Machine};

use crate::archive::{ALIGNMENT, Kind, MAGIC};

/// Where the arm64 Image header has the size of all that must be in memory.
const IMAGE_SIZE: usize = 16;

/// Makes the file of the loader's ELF file and the parts that it is to carry.
///
/// # Errors
/// What is wrong with the loader's ELF file.
pub fn pack(loader: &[u8], parts: &[(Kind, &[u8])]) -> Result<Vec<u8>, ImageError> {
    let mut file = flatten(loader)?;
    file.extend(archive(parts));
    set_size(&mut file)?;
    Ok(file)
}

/// Makes an arm64 Image of an ELF file that is linked by `image.ld`, as the test guests are.
///
/// # Errors
/// What is wrong with the ELF file.
pub fn flatten(elf: &[u8]) -> Result<Vec<u8>, ImageError> {
    let image = Image::parse(elf, Machine::Aarch64)?;
    let mut file = alloc::vec![0; image.span().size as usize];
    image.load_into(&mut file, 0)?;
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    set_size(&mut file)?;
    Ok(file)
}

/// Puts the file's size into its header.
fn set_size(file: &mut [u8]) -> Result<(), ImageError> {
    let size = (file.len() as u64).to_le_bytes();
    file.get_mut(IMAGE_SIZE..IMAGE_SIZE + 8).ok_or(ImageError::TooLarge)?.copy_from_slice(&size);
    Ok(())
}

/// The archive alone.
pub fn archive(parts: &[(Kind, &[u8])]) -> Vec<u8> {
    let mut at = ALIGNMENT;
    let mut table = Vec::new();
    let mut bodies = Vec::new();
    for (kind, bytes) in parts {
        for word in [*kind as u64, at as u64, bytes.len() as u64] {
            table.extend(word.to_le_bytes());
        }
        bodies.extend_from_slice(bytes);
        bodies.resize(bodies.len().next_multiple_of(ALIGNMENT), 0);
        at = ALIGNMENT + bodies.len();
    }
    let mut file = Vec::new();
    let total = at + ALIGNMENT;
    for word in [MAGIC, parts.len() as u64, total as u64] {
        file.extend(word.to_le_bytes());
    }
    file.extend(table);
    file.resize(ALIGNMENT, 0);
    file.extend(bodies);
    // The end says so, so that a file that was cut short is noticed.
    file.extend([0; ALIGNMENT - 8]);
    file.extend(MAGIC.to_le_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Archive, Settings};

    #[test]
    fn parts_are_found_again() {
        let file =
            archive(&[(Kind::Kernel, b"kernel"), (Kind::Initrd, &[7; 5000]), (Kind::CommandLine, b"")]);
        let archive = Archive::new(&file).unwrap();
        assert_eq!(archive.part(Kind::Kernel), Some(&b"kernel"[..]));
        assert_eq!(archive.part(Kind::Initrd), Some(&[7; 5000][..]));
        assert_eq!(archive.part(Kind::CommandLine), Some(&b""[..]));
        assert_eq!(archive.part(Kind::Payload), None);
        assert_eq!(archive.settings(), Settings { mebibytes: 32, log_level: 3, console: (0, 0) });
    }

    #[test]
    fn settings_may_be_short() {
        let all = Settings { mebibytes: 64, log_level: 5, console: (2, 0x900_0000) };
        let file = archive(&[(Kind::Settings, &all.to_bytes())]);
        assert_eq!(Archive::new(&file).unwrap().settings(), all);
        let file = archive(&[(Kind::Settings, &all.to_bytes()[..16])]);
        assert_eq!(Archive::new(&file).unwrap().settings(), Settings { console: (0, 0), ..all });
    }

    #[test]
    fn a_cut_archive_is_none() {
        let file = archive(&[(Kind::Kernel, &[1; 9000])]);
        assert!(Archive::new(&file[..file.len() - 1]).is_none());
        assert!(Archive::new(&file[..10]).is_none());
        let mut zeroes = file.clone();
        zeroes[8192..].fill(0);
        assert!(Archive::new(&zeroes).is_none(), "only a part was copied to memory");
        assert!(Archive::new(&[0; 4096]).is_none());
    }
}
