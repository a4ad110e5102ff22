//! What the loader carries with it: a table of parts, page aligned, each found by its kind.

/// The archive's first word, and its last: `"PLNARCH1"`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"PLNARCH1");
/// Parts start at multiples of this many bytes.
pub const ALIGNMENT: usize = 4096;
/// The most parts.
pub const MAX_PARTS: usize = 8;
/// Bytes before the table: magic, number of parts, total size.
const HEADER: usize = 24;
/// Bytes of an entry: kind, offset, size.
const ENTRY: usize = 24;

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// The kernel's ELF file.
    Kernel = 1,
    /// The extension's ELF file.
    Extension = 2,
    /// The payload: an arm64 Image.
    Payload = 3,
    /// The payload's initial RAM disk.
    Initrd = 4,
    /// The payload's command line, UTF-8.
    CommandLine = 5,
    /// Words of 64 bits, each of which may be missing from the end: see [`Settings`].
    Settings = 6,
    /// The kernel's own command line, UTF-8.
    Options = 7,
    /// The board's device tree, where the firmware passes none or not the right one.
    DeviceTree = 8,
}

/// What the file is told beside its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// MiB to reserve.
    pub mebibytes: u64,
    /// The log level, as in the launch contract.
    pub log_level: u64,
    /// The console where the device tree names none that is known, or there is no sound device tree: kind and address,
    /// as in the launch contract.
    pub console: (u64, u64),
}

impl Settings {
    /// The part that says so.
    pub fn to_bytes(&self) -> [u8; 32] {
        let words = [self.mebibytes, self.log_level, self.console.0, self.console.1];
        let mut bytes = [0; 32];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// An archive in memory.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The total size that an archive's header tells, if it is one.
pub fn total_size(header: &[u8]) -> Option<u64> {
    (word(header, 0)? == MAGIC).then(|| word(header, 16))?
}

impl<'a> Archive<'a> {
    /// An archive in `bytes`; `None` where there is none or its table does not fit.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let count = word(bytes, 8)? as usize;
        let total = usize::try_from(total_size(bytes)?).ok()?;
        let complete = word(bytes, total.checked_sub(8)?)? == MAGIC && count <= MAX_PARTS;
        complete.then_some(Self { bytes })
    }

    /// A part's bytes; `None` where it is missing or out of bounds.
    pub fn part(&self, kind: Kind) -> Option<&'a [u8]> {
        let count = word(self.bytes, 8)? as usize;
        let entry = (0..count)
            .map(|index| HEADER + index * ENTRY)
            .find(|&at| word(self.bytes, at) == Some(kind as u64))?;
        let start = usize::try_from(word(self.bytes, entry + 8)?).ok()?;
        let size = usize::try_from(word(self.bytes, entry + 16)?).ok()?;
        self.bytes.get(start..start.checked_add(size)?)
    }

    /// The settings, or what goes without: 32 MiB, log level 3 (info), no console.
    pub fn settings(&self) -> Settings {
        let bytes = self.part(Kind::Settings).unwrap_or_default();
        let at = |index: usize, default| word(bytes, index * 8).unwrap_or(default);
        Settings { mebibytes: at(0, 32), log_level: at(1, 3), console: (at(2, 0), at(3, 0)) }
    }
}
