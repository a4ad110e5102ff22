//! What GRUB tells: a list of tags (Multiboot2 specification, "Boot information").

use crate::memory_map::{MemoryMap, Region};

const END: u32 = 0;
const COMMAND_LINE: u32 = 1;
const MODULE: u32 = 3;
const MEMORY_MAP: u32 = 6;
const ACPI_OLD: u32 = 14;
const ACPI_NEW: u32 = 15;

/// A file that GRUB has loaded, and the words behind its name in `grub.cfg`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Module<'a> {
    /// Where it lies.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// The first word: what it is for.
    pub role: &'a str,
    /// The rest.
    pub arguments: &'a str,
}

/// The boot information, as far as the loader needs it.
#[derive(Debug)]
pub struct BootInfo<'a> {
    bytes: &'a [u8],
}

impl<'a> BootInfo<'a> {
    /// From the bytes that start with the total size.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The tags: type, and bytes with the header.
    fn tags(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        let mut at = 8;
        core::iter::from_fn(move || {
            let kind = word(bytes, at)?;
            let size = word(bytes, at + 4)? as usize;
            let tag = bytes.get(at..at.checked_add(size)?)?;
            at += size.checked_next_multiple_of(8)?;
            (kind != END && size >= 8).then_some((kind, tag))
        })
    }

    fn find(&self, wanted: u32) -> Option<&'a [u8]> {
        self.tags().find(|(kind, _)| *kind == wanted).map(|(_, tag)| tag)
    }

    /// The loader's own arguments.
    pub fn command_line(&self) -> &'a str {
        self.find(COMMAND_LINE).and_then(|tag| text(tag, 8)).unwrap_or("")
    }

    /// The module for a role.
    pub fn module(&self, role: &str) -> Option<Module<'a>> {
        self.tags().filter(|(kind, _)| *kind == MODULE).find_map(|(_, tag)| {
            let line = text(tag, 16)?.trim();
            let (first, arguments) = line.split_once(' ').unwrap_or((line, ""));
            let (start, end) = (u64::from(word(tag, 8)?), u64::from(word(tag, 12)?));
            (first == role && start < end).then_some(Module { start, end, role: first, arguments })
        })
    }

    /// The end of the last module.
    pub fn modules_end(&self) -> u64 {
        let modules = self.tags().filter(|(kind, _)| *kind == MODULE);
        modules.filter_map(|(_, tag)| word(tag, 12)).map(u64::from).max().unwrap_or(0)
    }

    /// The machine's memory.
    pub fn memory_map(&self) -> MemoryMap {
        let mut map = MemoryMap::default();
        let Some(tag) = self.find(MEMORY_MAP) else { return map };
        let step = word(tag, 8).unwrap_or(0).max(24) as usize;
        for entry in tag.get(16..).unwrap_or_default().chunks_exact(step) {
            let (Some(start), Some(size), Some(kind)) = (long(entry, 0), long(entry, 8), word(entry, 16))
            else {
                break;
            };
            map.push(Region { start, size, kind });
        }
        map
    }

    /// Where in the boot information a copy of the ACPI RSDP is, in bytes from its start.
    pub fn rsdp_offset(&self) -> Option<usize> {
        let tag = self.find(ACPI_NEW).or_else(|| self.find(ACPI_OLD))?;
        Some(tag.as_ptr() as usize - self.bytes.as_ptr() as usize + 8)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The text from `at` on, up to its zero.
fn text(tag: &[u8], at: usize) -> Option<&str> {
    let bytes = tag.get(at..)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> [u8; 96] {
        let mut bytes = [0; 96];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(8, &[3, 0, 0, 0, 28, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0]);
        put(24, b"payload a=b\0");
        put(40, &[6, 0, 0, 0, 40, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0]);
        put(56, &0x10_0000_u64.to_le_bytes());
        put(64, &0x4000_0000_u64.to_le_bytes());
        put(72, &[1, 0, 0, 0]);
        bytes
    }

    #[test]
    fn a_module_is_found_by_its_role() {
        let bytes = info();
        let module = Module { start: 0x1000, end: 0x2000, role: "payload", arguments: "a=b" };
        assert_eq!(BootInfo::new(&bytes).module("payload"), Some(module));
        assert_eq!(BootInfo::new(&bytes).module("kernel"), None);
    }

    #[test]
    fn the_memory_map_is_read() {
        let bytes = info();
        let map = BootInfo::new(&bytes).memory_map();
        assert_eq!(map.regions(), [Region { start: 0x10_0000, size: 0x4000_0000, kind: 1 }]);
    }

    #[test]
    fn cut_off_information_ends_the_list() {
        let bytes = info();
        for length in 0..bytes.len() {
            let short = BootInfo::new(&bytes[..length]);
            let _ = (short.module("payload"), short.memory_map(), short.command_line());
        }
    }
}
