//! The panic locations in a linked image.
//!
//! Kernel images are static-PIE: the pointer to a location's file name is a relative relocation, its addend the address of
//! the text, and behind it come the text's length, the line and the column (`core::panic::Location`).

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, bail};
use elf::ElfBytes;
use elf::abi::{R_AARCH64_RELATIVE, R_X86_64_RELATIVE, SHT_NOBITS, SHT_RELA};
use elf::endian::LittleEndian;

/// The longest file name that is looked at, in bytes.
const LONGEST_NAME: u64 = 512;

/// A place in the source.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Location {
    /// The file: from the workspace's root, or from the crate's folder (`spin-0.12.3/src/once.rs`), or `library/…`.
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// All of an image.
///
/// # Errors
/// Not an ELF file, or one without any: then this reader does not know the compiler's layout any more.
pub(super) fn of_image(bytes: &[u8]) -> Result<BTreeSet<Location>> {
    let image = Image::read(bytes)?;
    let found: BTreeSet<_> = image.relocations()?.filter_map(|(at, text)| image.location(at, text)).collect();
    if found.is_empty() {
        bail!("no panic location in it: the compiler lays core::panic::Location out differently now");
    }
    Ok(found)
}

struct Image<'a> {
    bytes: &'a [u8],
    elf: ElfBytes<'a, LittleEndian>,
    /// Address, size and offset in the file of each section.
    sections: Vec<(u64, u64, u64)>,
}

impl<'a> Image<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let elf = ElfBytes::minimal_parse(bytes).context("not an ELF file")?;
        let headers = elf.section_headers().context("no section headers; do not strip it")?;
        let sections = headers
            .iter()
            .filter(|header| header.sh_type != SHT_NOBITS && header.sh_addr != 0)
            .map(|header| (header.sh_addr, header.sh_size, header.sh_offset))
            .collect();
        Ok(Self { bytes, elf, sections })
    }

    /// The relative relocations: where, and the address that is put there.
    fn relocations(&self) -> Result<impl Iterator<Item = (u64, u64)>> {
        let headers = self.elf.section_headers().context("no section headers")?;
        let mut all = Vec::new();
        for header in headers.iter().filter(|header| header.sh_type == SHT_RELA) {
            all.extend(self.elf.section_data_as_relas(&header)?);
        }
        let relative = |kind| kind == R_X86_64_RELATIVE || kind == R_AARCH64_RELATIVE;
        Ok(all
            .into_iter()
            .filter(move |rela| relative(rela.r_type))
            .map(|rela| (rela.r_offset, rela.r_addend.cast_unsigned())))
    }

    fn at(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        let inside = |&&(start, length, _): &&(u64, u64, u64)| {
            address
                .checked_sub(start)
                .is_some_and(|offset| offset.checked_add(size).is_some_and(|end| end <= length))
        };
        let (start, _, offset) = self.sections.iter().find(inside)?;
        let from = usize::try_from(address - start + offset).ok()?;
        self.bytes.get(from..from + usize::try_from(size).ok()?)
    }

    fn location(&self, at: u64, text: u64) -> Option<Location> {
        let words = self.at(at.checked_add(8)?, 16)?;
        let length = u64::from_le_bytes(words[..8].try_into().ok()?);
        let [line, column] =
            [8, 12].map(|from| u32::from_le_bytes([0, 1, 2, 3].map(|byte| words[from + byte])));
        if length > LONGEST_NAME || line == 0 || column == 0 {
            return None;
        }
        let file = str::from_utf8(self.at(text, length)?).ok()?.trim_end_matches('\0');
        let is_source = file.ends_with(".rs") || file.ends_with(".in");
        is_source.then(|| Location { file: short(file).to_owned(), line, column })
    }
}

/// A file's name without what only this machine has: the registry's folder, or the toolchain's.
fn short(file: &str) -> &str {
    if let Some((_, inside)) = file.split_once("/registry/src/") {
        return inside.split_once('/').map_or(inside, |(_, inside)| inside);
    }
    file.find("/library/").map_or(file, |at| &file[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_on_each_machine() {
        assert_eq!(short("kernel/src/pp/mod.rs"), "kernel/src/pp/mod.rs");
        assert_eq!(
            short("/home/me/.cargo/registry/src/index-1/spin-0.12.3/src/once.rs"),
            "spin-0.12.3/src/once.rs"
        );
        assert_eq!(short("/rustc/59807616/library/core/src/num/mod.rs"), "library/core/src/num/mod.rs");
        assert_eq!(short("/usr/src/rustc/library/core/src/num/mod.rs"), "library/core/src/num/mod.rs");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(of_image(b"").is_err());
        assert!(of_image(&[0x7F; 64]).is_err());
    }

    /// This test program is linked as an image is: it contains the location of the next line's index.
    #[test]
    fn a_place_that_can_panic_is_found() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let line = line!() + 1;
        let value = [1, 2, 3][std::hint::black_box(2)];
        assert_eq!(value, 3);
        let found = of_image(&own).unwrap();
        assert!(found.iter().any(|place| place.file.ends_with("panics/locations.rs") && place.line == line));
    }
}
