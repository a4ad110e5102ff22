//! What GRUB tells: a list of tags (Multiboot2 specification, "Boot information").

use core::fmt;

use crate::memory_map::{MemoryMap, Region};

const END: u32 = 0;
const COMMAND_LINE: u32 = 1;
const MODULE: u32 = 3;
const MEMORY_MAP: u32 = 6;
const FRAMEBUFFER: u32 = 8;
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

/// What is wrong with the list of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadModules<'a> {
    /// The boot information ends before its end tag.
    CutShort,
    /// This word is no role.
    Unknown(&'a str),
    /// Two modules have this role.
    Twice(&'a str),
}

impl fmt::Display for BadModules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => f.write_str(
                "the boot information is cut short; start the loader with GRUB's multiboot2 command",
            ),
            Self::Unknown(role) => write!(
                f,
                "a module is for `{role}`, which is nothing that this loader knows; after the file's name in grub.cfg write \
                 one of {}",
                Roles
            ),
            Self::Twice(role) => write!(f, "two modules are the {role}; remove one of them from grub.cfg"),
        }
    }
}

/// What modules are for.
pub const ROLES: [&str; 4] = ["kernel", "extension", "payload", "initrd"];

struct Roles;

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, role) in ROLES.iter().enumerate() {
            write!(f, "{}{role}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
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
    fn all_tags(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        let mut at = 8;
        core::iter::from_fn(move || {
            let kind = word(bytes, at)?;
            let size = word(bytes, at + 4)? as usize;
            let tag = bytes.get(at..at.checked_add(size)?)?;
            at = at.checked_add(size.checked_next_multiple_of(8)?)?;
            (size >= 8).then_some((kind, tag))
        })
    }

    /// All of them but the last.
    fn tags(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        self.all_tags().take_while(|(kind, _)| *kind != END)
    }

    fn modules(&self) -> impl Iterator<Item = Module<'a>> + use<'a> {
        self.tags().filter(|(kind, _)| *kind == MODULE).filter_map(|(_, tag)| {
            let line = text(tag, 16)?.trim();
            let (role, arguments) = line.split_once(' ').unwrap_or((line, ""));
            let (start, end) = (u64::from(word(tag, 8)?), u64::from(word(tag, 12)?));
            Some(Module { start, end, role, arguments })
        })
    }

    /// Looks at what the modules are for.
    ///
    /// # Errors
    /// [`BadModules`].
    pub fn check_modules(&self) -> Result<(), BadModules<'a>> {
        if !self.all_tags().any(|(kind, _)| kind == END) {
            return Err(BadModules::CutShort);
        }
        for module in self.modules() {
            if !ROLES.contains(&module.role) {
                return Err(BadModules::Unknown(module.role));
            }
            if self.modules().filter(|other| other.role == module.role).count() > 1 {
                return Err(BadModules::Twice(module.role));
            }
        }
        Ok(())
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
        self.modules().find(|module| module.role == role && module.start < module.end)
    }

    /// The end of the last module.
    pub fn modules_end(&self) -> u64 {
        self.modules().map(|module| module.end).max().unwrap_or(0)
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

    /// Columns and lines of the screen, where it is in text mode.
    pub fn text_screen(&self) -> Option<(u8, u8)> {
        /// Framebuffer type: EGA-standard text mode.
        const TEXT: u8 = 2;
        let tag = self.find(FRAMEBUFFER).filter(|tag| tag.get(29) == Some(&TEXT))?;
        let (columns, lines) = (word(tag, 20)?, word(tag, 24)?);
        Some((columns.try_into().ok()?, lines.try_into().ok()?))
    }

    /// A copy of the ACPI RSDP.
    pub fn rsdp(&self) -> Option<&'a [u8]> {
        self.find(ACPI_NEW).or_else(|| self.find(ACPI_OLD))?.get(8..)
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

    extern crate std;

    use std::string::ToString;

    fn info() -> [u8; 96] {
        let mut bytes = [0; 96];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(8, &[3, 0, 0, 0, 28, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0]);
        put(24, b"payload a=b\0");
        put(40, &[6, 0, 0, 0, 40, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0]);
        put(56, &0x10_0000_u64.to_le_bytes());
        put(64, &0x4000_0000_u64.to_le_bytes());
        put(72, &[1, 0, 0, 0]);
        put(80, &[0, 0, 0, 0, 8, 0, 0, 0]);
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
    fn modules_without_a_use_are_refused() {
        let check = |bytes: &[u8]| BootInfo::new(bytes).check_modules().map_err(|error| error.to_string());
        let whole = info();
        assert_eq!(check(&whole), Ok(()));
        assert!(check(&whole[..80]).unwrap_err().contains("cut short"));
        let mut unknown = whole;
        unknown[24..31].copy_from_slice(b"payroll");
        let said = check(&unknown).unwrap_err();
        assert!(said.contains("`payroll`") && said.contains("kernel, extension, payload, initrd"), "{said}");
        let mut twice = whole;
        twice.copy_within(8..40, 40);
        twice[72..80].copy_from_slice(&[0, 0, 0, 0, 8, 0, 0, 0]);
        assert!(check(&twice).unwrap_err().starts_with("two modules are the payload"));
    }

    #[test]
    fn only_a_text_screen_is_one() {
        let mut bytes = [0; 56];
        bytes[8..16].copy_from_slice(&[8, 0, 0, 0, 31, 0, 0, 0]);
        (bytes[28], bytes[32], bytes[37]) = (80, 25, 2);
        assert_eq!(BootInfo::new(&bytes).text_screen(), Some((80, 25)));
        bytes[37] = 1;
        assert_eq!(BootInfo::new(&bytes).text_screen(), None);
        assert_eq!(BootInfo::new(&info()).text_screen(), None);
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
            let _ =
                (short.module("payload"), short.memory_map(), short.command_line(), short.check_modules());
        }
    }
}
