//! Relocations: words of the image that hold a link-time address and must follow the image
//! to where it is loaded.

use super::ImageError;
use super::program::Segments;
use elf::{endian::LittleEndian, file::Class, relocation::RelaIterator};

/// Bytes of an `Elf64_Rela` and of an `Elf64_Relr`.
pub(super) const RELA_SIZE: u64 = 24;
pub(super) const RELR_SIZE: u64 = 8;

/// One word to relocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// The word's link-time address; a multiple of 8.
    pub vaddr: u64,
    /// What it holds when the image lies where it was linked; the bias is added, wrapping.
    pub addend: u64,
}

/// The raw tables, each a whole number of entries.
#[derive(Clone, Debug)]
pub(super) struct Tables<'a> {
    pub(super) rela: &'a [u8],
    pub(super) relr: &'a [u8],
}

impl<'a> Tables<'a> {
    /// Refuses every entry but `R_*_RELATIVE` and `R_*_NONE`.
    pub(super) fn check_kinds(&self, relative: u32) -> Result<(), ImageError> {
        let mut kinds = self.rela().map(|entry| (entry.r_type, entry.r_sym));
        match kinds.find(|&(kind, symbol)| kind != NONE && (kind, symbol) != (relative, 0)) {
            Some((kind, _)) => Err(ImageError::UnsupportedRelocation { kind }),
            None => Ok(()),
        }
    }

    fn rela(&self) -> RelaIterator<'a, LittleEndian> {
        RelaIterator::new(LittleEndian, Class::ELF64, self.rela)
    }
}

/// `R_*_NONE` of both machines.
const NONE: u32 = 0;

/// The relocations of an image: those of `DT_RELA`, then those of `DT_RELR`.
pub struct Relocations<'i, 'a> {
    segments: &'i Segments<'a>,
    rela: RelaIterator<'a, LittleEndian>,
    relr: Relr<'a>,
}

impl<'i, 'a> Relocations<'i, 'a> {
    pub(super) fn new(segments: &'i Segments<'a>, tables: &Tables<'a>) -> Self {
        Self { segments, rela: tables.rela(), relr: Relr::new(tables.relr) }
    }

    /// A `DT_RELR` entry has no addend: the word itself holds it.
    fn in_place(&self, vaddr: u64) -> Relocation {
        Relocation { vaddr, addend: word_at(self.segments, vaddr).unwrap_or(0) }
    }
}

impl Iterator for Relocations<'_, '_> {
    type Item = Relocation;

    fn next(&mut self) -> Option<Relocation> {
        match self.rela.find(|entry| entry.r_type != NONE) {
            Some(entry) => Some(Relocation { vaddr: entry.r_offset, addend: entry.r_addend.cast_unsigned() }),
            None => self.relr.next().map(|vaddr| self.in_place(vaddr)),
        }
    }
}

/// The eight file bytes at a link-time address; what the file does not hold is zero.
fn word_at(segments: &Segments, vaddr: u64) -> Option<u64> {
    let segment = segments.iter().find(|segment| segment.contains(vaddr, 8))?;
    let start = usize::try_from(vaddr.checked_sub(segment.vaddr)?).ok()?;
    let mut word = [0; 8];
    let held = segment.data.get(start..).unwrap_or(&[]);
    word.iter_mut().zip(held).for_each(|(to, from)| *to = *from);
    Some(u64::from_le_bytes(word))
}

/// Decodes `DT_RELR`: an even entry is an address; an odd one is a bitmap of the 63 words that follow
/// what came before (System V gABI, "Relative relocation table").
struct Relr<'a> {
    entries: core::slice::ChunksExact<'a, u8>,
    bitmap: u64,
    /// The address that the bitmap's lowest bit stands for.
    at: u64,
    /// The address that the next bitmap begins with.
    base: u64,
}

impl<'a> Relr<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { entries: bytes.chunks_exact(RELR_SIZE as usize), bitmap: 0, at: 0, base: 0 }
    }

    /// The lowest address left in the bitmap.
    fn take_bit(&mut self) -> Option<u64> {
        if self.bitmap == 0 {
            return None;
        }
        let skip = self.bitmap.trailing_zeros();
        let vaddr = self.at.wrapping_add(u64::from(skip) * 8);
        // At most 63 bits are set, so neither shift reaches the word's width.
        self.bitmap = self.bitmap >> skip >> 1;
        self.at = vaddr.wrapping_add(8);
        Some(vaddr)
    }

    fn start_bitmap(&mut self, entry: u64) {
        (self.bitmap, self.at) = (entry >> 1, self.base);
        self.base = self.base.wrapping_add(63 * 8);
    }
}

impl Iterator for Relr<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            if let Some(vaddr) = self.take_bit() {
                return Some(vaddr);
            }
            let entry = u64::from_le_bytes(self.entries.next()?.try_into().ok()?);
            if entry & 1 == 0 {
                self.base = entry.wrapping_add(8);
                return Some(entry);
            }
            self.start_bitmap(entry);
        }
    }
}
