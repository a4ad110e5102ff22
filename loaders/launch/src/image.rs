//! The ELF images that loaders and the kernel load: the kernel itself, and extensions.
//!
//! One module for both, because both must refuse the same things: a kernel that is writable and
//! executable at once is no better than an extension that is. Bytes come from a disk or from
//! whoever wrote the extension, so every number in them is checked before it is used; after
//! [`Image::parse`] succeeds, nothing about the image can fail any more, which is what lets the
//! kernel build an address space from it page by page.
//!
//! Accepted are static and static-PIE ELF64 little-endian executables whose only relocations are
//! the machine's *relative* one (ELF `DT_RELA` and `DT_RELR`). `PT_GNU_RELRO` and `PT_GNU_STACK` are
//! ignored: segments get exactly the permissions of their `PT_LOAD`.

mod dynamic;
mod error;
mod note;
mod place;
mod program;
mod relocation;

pub use error::ImageError;
pub use place::Page;
pub use relocation::{Relocation, Relocations};

use crate::Range;
use elf::{ElfBytes, abi, endian::LittleEndian};
use program::{Segments, read_segments};
use relocation::Tables;

/// Bytes in a page, the granularity of an image's permissions.
pub const PAGE_SIZE: u64 = 4096;

/// No segment may reach this link-time address: the end of the lower half on both machines.
pub const ADDRESS_LIMIT: u64 = 1 << 47;

/// The most bytes an image may span, first page to last.
pub const SPAN_LIMIT: u64 = 1 << 30;

/// The largest `p_align` that is honoured, in bytes.
pub const ALIGNMENT_LIMIT: u64 = 2 << 20;

/// The machines that images are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64: ELF machine 62 (System V ABI, AMD64 supplement).
    X86_64,
    /// AArch64: ELF machine 183 (ELF for the Arm 64-bit Architecture).
    Aarch64,
}

impl Machine {
    /// The ELF header's `e_machine`.
    pub const fn number(self) -> u16 {
        match self {
            Self::X86_64 => abi::EM_X86_64,
            Self::Aarch64 => abi::EM_AARCH64,
        }
    }

    /// The number of this machine's relative relocation, `R_*_RELATIVE`.
    pub(crate) const fn relative(self) -> u32 {
        match self {
            Self::X86_64 => abi::R_X86_64_RELATIVE,
            Self::Aarch64 => abi::R_AARCH64_RELATIVE,
        }
    }
}

/// One piece of an image as it wants to lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadSegment<'a> {
    /// Its first byte's link-time address; not necessarily page aligned.
    pub vaddr: u64,
    /// Its bytes from the file; the rest, up to `memory_size`, is zero.
    pub data: &'a [u8],
    /// Its length in memory, in bytes; at least `data.len()`, never 0.
    pub memory_size: u64,
    /// It may be written.
    pub write: bool,
    /// It may be executed; never together with `write`.
    pub execute: bool,
}

impl LoadSegment<'_> {
    /// One past its last byte's link-time address.
    pub const fn end(&self) -> u64 {
        self.vaddr.saturating_add(self.memory_size)
    }

    /// The whole pages it touches, as link-time addresses. No two segments touch the same page.
    pub const fn pages(&self) -> Range {
        let start = page_floor(self.vaddr);
        Range { start, size: page_ceil(self.end()).saturating_sub(start) }
    }

    /// Whether all of `size` bytes at `vaddr` belong to it.
    fn contains(&self, vaddr: u64, size: u64) -> bool {
        vaddr >= self.vaddr && size <= self.memory_size && vaddr - self.vaddr <= self.memory_size - size
    }
}

/// A checked ELF image, borrowing the file's bytes.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    file: &'a [u8],
    segments: Segments<'a>,
    tables: Tables<'a>,
    entry: u64,
    relocatable: bool,
    alignment: u64,
}

impl<'a> Image<'a> {
    /// Checks `bytes` as an image for `machine`.
    ///
    /// # Errors
    /// The first fault found, with its remedy; see [`ImageError`].
    pub fn parse(bytes: &'a [u8], machine: Machine) -> Result<Self, ImageError> {
        let file = open(bytes, machine)?;
        let headers = file.segments().ok_or(ImageError::NoSegments)?;
        let program = read_segments(bytes, &headers)?;
        let tables = dynamic::read_tables(&program, machine)?;
        let image = Self {
            file: bytes,
            segments: program.segments,
            tables,
            entry: file.ehdr.e_entry,
            relocatable: file.ehdr.e_type == abi::ET_DYN,
            alignment: program.alignment,
        };
        image.check_entry()?;
        image.check_relocations(machine)?;
        Ok(image)
    }

    /// The segments to load, in file order.
    pub fn segments(&self) -> impl Iterator<Item = &LoadSegment<'a>> {
        self.segments.iter()
    }

    /// The segment that owns the page at link-time address `page`, if one does.
    pub fn segment_at(&self, page: u64) -> Option<&LoadSegment<'a>> {
        self.segments().find(|segment| {
            let pages = segment.pages();
            page >= pages.start && page - pages.start < pages.size
        })
    }

    /// The pages from the lowest segment to the highest, as link-time addresses, gaps included.
    pub fn span(&self) -> Range {
        self.segments.span()
    }

    /// The link-time address of the first instruction; inside an executable segment.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Whether it may be loaded at another address than it was linked for (`ET_DYN`).
    pub fn is_relocatable(&self) -> bool {
        self.relocatable
    }

    /// What a bias must be a multiple of, in bytes: a power of two, at least [`PAGE_SIZE`].
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// The relocations: 8-aligned 64-bit words, each inside one writable segment.
    pub fn relocations(&self) -> Relocations<'_, 'a> {
        Relocations::new(&self.segments, &self.tables)
    }

    /// The number in the file's only ELF note of that kind by that owner, if there is one.
    ///
    /// # Errors
    /// [`ImageError::BadNote`] where there are several, or it is not 8 bytes long.
    pub fn number_in_note(&self, owner: &str, kind: u32) -> Result<Option<u64>, ImageError> {
        note::find(self.file, owner, kind)
    }

    fn check_entry(&self) -> Result<(), ImageError> {
        let inside = |segment: &LoadSegment| segment.execute && segment.contains(self.entry, 1);
        if self.segments().any(inside) { Ok(()) } else { Err(ImageError::EntryNotExecutable) }
    }

    fn check_relocations(&self, machine: Machine) -> Result<(), ImageError> {
        self.tables.check_kinds(machine.relative())?;
        self.relocations().try_for_each(|relocation| self.check_relocation(relocation.vaddr))
    }

    fn check_relocation(&self, vaddr: u64) -> Result<(), ImageError> {
        if !vaddr.is_multiple_of(8) {
            return Err(ImageError::RelocationUnaligned);
        }
        match self.segments().find(|segment| segment.contains(vaddr, 8)) {
            None => Err(ImageError::RelocationOutside),
            Some(segment) if !segment.write => Err(ImageError::RelocationReadOnly),
            Some(_) => Ok(()),
        }
    }
}

/// Reads the ELF header and refuses every kind of file that is not for us.
fn open(bytes: &[u8], machine: Machine) -> Result<ElfBytes<'_, LittleEndian>, ImageError> {
    check_ident(bytes)?;
    let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(ImageError::from_parse)?;
    let (found, expected) = (file.ehdr.e_machine, machine.number());
    match file.ehdr.e_type {
        _ if found != expected => Err(ImageError::WrongMachine { found, expected }),
        abi::ET_EXEC | abi::ET_DYN => Ok(file),
        other => Err(ImageError::NotExecutable { kind: other }),
    }
}

/// Checks the identification bytes (System V gABI, "ELF Identification").
fn check_ident(bytes: &[u8]) -> Result<(), ImageError> {
    let Some(ident) =
        bytes.first_chunk::<{ abi::EI_NIDENT }>().filter(|ident| ident.starts_with(&abi::ELFMAGIC))
    else {
        return Err(ImageError::NotElf);
    };
    match (ident[abi::EI_CLASS], ident[abi::EI_DATA]) {
        (abi::ELFCLASS64, abi::ELFDATA2LSB) => Ok(()),
        (abi::ELFCLASS64, _) => Err(ImageError::WrongEndianness),
        _ => Err(ImageError::WrongClass),
    }
}

const fn page_floor(address: u64) -> u64 {
    address & !(PAGE_SIZE - 1)
}

/// Rounds up; the caller has checked that `address` is below [`ADDRESS_LIMIT`].
const fn page_ceil(address: u64) -> u64 {
    page_floor(address.saturating_add(PAGE_SIZE - 1))
}
