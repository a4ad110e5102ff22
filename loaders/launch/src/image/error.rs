//! Why an image is refused, in words that a person who built it can act on.

use core::fmt;
use elf::parse::ParseError;

/// Why an image is refused.
///
/// [`ImageError::number`] and [`ImageError::value`] fit a launch status' detail, so that a loader can print the
/// whole reason for what the kernel refused; see [`ImageError::raw`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ImageError {
    /// No ELF magic, or shorter than one.
    NotElf = 1,
    /// A 32-bit ELF file.
    WrongClass = 2,
    /// A big-endian ELF file.
    WrongEndianness = 3,
    /// Built for another machine.
    WrongMachine {
        /// The file's `e_machine`.
        found: u16,
        /// The `e_machine` of the machine it was to run on.
        expected: u16,
    } = 4,
    /// Neither `ET_EXEC` nor `ET_DYN`.
    NotExecutable {
        /// The file's `e_type`.
        kind: u16,
    } = 5,
    /// A header or a segment ends outside the file.
    Truncated = 6,
    /// A header contradicts the ELF specification.
    Malformed = 7,
    /// Nothing to load.
    NoSegments = 8,
    /// More `PT_LOAD` segments than [`crate::MAX_SEGMENTS`].
    TooManySegments = 9,
    /// A segment is writable and executable.
    WritableAndExecutable {
        /// Its index among the program headers.
        segment: u16,
    } = 10,
    /// Two segments touch the same page.
    Overlap {
        /// The index, among the program headers, of the second one.
        segment: u16,
    } = 11,
    /// A segment has more bytes in the file than in memory, or reaches above [`super::ADDRESS_LIMIT`].
    OutsideLimits {
        /// Its index among the program headers.
        segment: u16,
    } = 12,
    /// All segments together span more than [`super::SPAN_LIMIT`].
    TooLarge = 13,
    /// An alignment that is no power of two or above [`super::ALIGNMENT_LIMIT`].
    BadAlignment {
        /// The segment's index among the program headers.
        segment: u16,
    } = 14,
    /// `PT_INTERP` or `DT_NEEDED`.
    NeedsDynamicLinker = 15,
    /// `PT_TLS`.
    ThreadLocalStorage = 16,
    /// A relocation table is outside the image or has entries of an odd size.
    BadRelocationTable = 17,
    /// Not the machine's relative relocation.
    UnsupportedRelocation {
        /// Its type as in the relocation entry.
        kind: u32,
    } = 18,
    /// A relocation's address is not a multiple of 8.
    RelocationUnaligned = 19,
    /// A relocation outside every segment.
    RelocationOutside = 20,
    /// A relocation in a segment that is not writable.
    RelocationReadOnly = 21,
    /// The entry point is not in an executable segment.
    EntryNotExecutable = 22,
    /// The memory to load into is smaller than the image's span.
    DestinationTooSmall = 23,
    /// More than one note of the kind asked for, or one that is not 8 bytes long.
    BadNote = 24,
}

impl ImageError {
    /// The error's number, without what it names.
    pub const fn number(self) -> u16 {
        (self.raw() & 0xffff) as u16
    }

    /// What the error names: machines, a segment's index, a type; else 0.
    pub const fn value(self) -> u32 {
        (self.raw() >> 16) as u32
    }

    /// Number in bits 15:0, value in bits 47:16.
    pub const fn raw(self) -> u64 {
        let (number, value) = self.parts();
        number as u64 | (value as u64) << 16
    }

    const fn parts(self) -> (u16, u32) {
        match self {
            Self::NotElf => (1, 0),
            Self::WrongClass => (2, 0),
            Self::WrongEndianness => (3, 0),
            Self::WrongMachine { found, expected } => (4, found as u32 | (expected as u32) << 16),
            Self::NotExecutable { kind } => (5, kind as u32),
            Self::Truncated => (6, 0),
            Self::Malformed => (7, 0),
            Self::NoSegments => (8, 0),
            Self::TooManySegments => (9, 0),
            Self::WritableAndExecutable { segment } => (10, segment as u32),
            Self::Overlap { segment } => (11, segment as u32),
            Self::OutsideLimits { segment } => (12, segment as u32),
            Self::TooLarge => (13, 0),
            Self::BadAlignment { segment } => (14, segment as u32),
            Self::NeedsDynamicLinker => (15, 0),
            Self::ThreadLocalStorage => (16, 0),
            Self::BadRelocationTable => (17, 0),
            Self::UnsupportedRelocation { kind } => (18, kind),
            Self::RelocationUnaligned => (19, 0),
            Self::RelocationOutside => (20, 0),
            Self::RelocationReadOnly => (21, 0),
            Self::EntryNotExecutable => (22, 0),
            Self::DestinationTooSmall => (23, 0),
            Self::BadNote => (24, 0),
        }
    }

    /// Reads back [`ImageError::raw`]; `None` for a number that this version does not know.
    pub const fn from_raw(raw: u64) -> Option<Self> {
        let value = (raw >> 16) as u32;
        let (low, high) = (value as u16, (value >> 16) as u16);
        Some(match raw & 0xffff {
            1 => Self::NotElf,
            2 => Self::WrongClass,
            3 => Self::WrongEndianness,
            4 => Self::WrongMachine { found: low, expected: high },
            5 => Self::NotExecutable { kind: low },
            6 => Self::Truncated,
            7 => Self::Malformed,
            8 => Self::NoSegments,
            9 => Self::TooManySegments,
            10 => Self::WritableAndExecutable { segment: low },
            11 => Self::Overlap { segment: low },
            12 => Self::OutsideLimits { segment: low },
            13 => Self::TooLarge,
            14 => Self::BadAlignment { segment: low },
            15 => Self::NeedsDynamicLinker,
            16 => Self::ThreadLocalStorage,
            17 => Self::BadRelocationTable,
            18 => Self::UnsupportedRelocation { kind: value },
            19 => Self::RelocationUnaligned,
            20 => Self::RelocationOutside,
            21 => Self::RelocationReadOnly,
            22 => Self::EntryNotExecutable,
            23 => Self::DestinationTooSmall,
            24 => Self::BadNote,
            _ => return None,
        })
    }

    /// Sorts the parser's reasons: what points outside the file, and what makes no sense.
    pub(super) fn from_parse(error: ParseError) -> Self {
        match error {
            ParseError::BadMagic(_) => Self::NotElf,
            ParseError::BadOffset(_) | ParseError::SliceReadError(_) => Self::Truncated,
            _ => Self::Malformed,
        }
    }
}

/// The machine's name for the numbers that people meet.
fn machine(number: u16) -> &'static str {
    match number {
        elf::abi::EM_386 => "x86 (32-bit)",
        elf::abi::EM_ARM => "Arm (32-bit)",
        elf::abi::EM_X86_64 => "x86-64",
        elf::abi::EM_AARCH64 => "AArch64",
        elf::abi::EM_RISCV => "RISC-V",
        _ => "another machine",
    }
}

impl fmt::Display for ImageError {
    #[rustfmt::skip]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotElf => f.write_str("not an ELF file; name a static or static-PIE ELF executable"),
            Self::WrongClass => f.write_str("a 32-bit ELF file; build it for a 64-bit target"),
            Self::WrongEndianness => f.write_str("a big-endian ELF file; build it for a little-endian target"),
            Self::WrongMachine { found, expected } => write!(f, "built for {} (ELF machine {found}), but this machine is {} ({expected}); build it for this machine's target", machine(found), machine(expected)),
            Self::NotExecutable { kind } => write!(f, "an ELF file of type {kind}, not an executable; link it as a static or static-PIE executable"),
            Self::Truncated => f.write_str("a header or a segment ends outside the file; it is cut short or damaged, copy or build it again"),
            Self::Malformed => f.write_str("a header contradicts the ELF specification; the file is damaged, copy or build it again"),
            Self::NoSegments => f.write_str("it has no PT_LOAD segment, so nothing to load; link it as an executable"),
            Self::TooManySegments => write!(f, "it has more than {} PT_LOAD segments; merge some in the linker script", crate::MAX_SEGMENTS),
            Self::WritableAndExecutable { segment } => write!(f, "segment {segment} is both writable and executable; give code and data segments of their own (no -N, no RWX in the linker script)"),
            Self::Overlap { segment } => write!(f, "segment {segment} shares a page with another segment; align segments to 4096 bytes (-z separate-code, -z max-page-size=4096)"),
            Self::OutsideLimits { segment } => write!(f, "segment {segment} has an impossible size or lies above {:#x}; link it lower", super::ADDRESS_LIMIT),
            Self::TooLarge => write!(f, "it spans more than {} MiB from its lowest to its highest address; link its segments closer together", super::SPAN_LIMIT >> 20),
            Self::BadAlignment { segment } => write!(f, "segment {segment} has an alignment that is no power of two up to {:#x}; link it with -z max-page-size=4096", super::ALIGNMENT_LIMIT),
            Self::NeedsDynamicLinker => f.write_str("it needs a dynamic linker or shared libraries; link it statically (-static or -static-pie)"),
            Self::ThreadLocalStorage => f.write_str("it uses thread-local storage (PT_TLS), which is not supported; remove thread-local variables"),
            Self::BadRelocationTable => f.write_str("its relocation table lies outside the file's segments or has an odd entry size; the file is damaged, build it again"),
            Self::UnsupportedRelocation { kind } => write!(f, "it has a relocation of type {kind}; only relative ones are supported: link it statically, with no undefined symbols and no ifuncs"),
            Self::RelocationUnaligned => f.write_str("a relocation's address is not a multiple of 8; do not pack structures that hold pointers"),
            Self::RelocationOutside => f.write_str("a relocation lies outside every segment; the file is damaged, build it again"),
            Self::RelocationReadOnly => f.write_str("a relocation lies in a segment that is not writable; compile it as position-independent code (no text relocations)"),
            Self::EntryNotExecutable => f.write_str("its entry point is not in an executable segment; name the entry symbol to the linker (-e SYMBOL)"),
            Self::DestinationTooSmall => f.write_str("the memory set aside for it is smaller than the image; give the hypervisor more memory"),
            Self::BadNote => f.write_str("its manifest is no note of 8 bytes, or it has two; declare its groups once"),
        }
    }
}

impl core::error::Error for ImageError {}
