//! The program headers: which pieces of the file become memory, and what makes them unacceptable.

use super::{ADDRESS_LIMIT, ALIGNMENT_LIMIT, ImageError, LoadSegment, PAGE_SIZE, SPAN_LIMIT};
use crate::{MAX_SEGMENTS, Range};
use elf::{abi, endian::LittleEndian, segment::ProgramHeader, segment::SegmentTable};

/// A fixed table of segments: the kernel has no heap.
#[derive(Clone, Debug)]
pub(super) struct Segments<'a> {
    table: [LoadSegment<'a>; MAX_SEGMENTS],
    count: usize,
}

impl<'a> Segments<'a> {
    const fn new() -> Self {
        let none = LoadSegment { vaddr: 0, data: &[], memory_size: 0, write: false, execute: false };
        Self { table: [none; MAX_SEGMENTS], count: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &LoadSegment<'a>> {
        self.table.iter().take(self.count)
    }

    pub(super) fn span(&self) -> Range {
        let start = self.iter().map(|segment| segment.pages().start).min().unwrap_or(0);
        let end = self.iter().map(|segment| segment.pages().start + segment.pages().size).max().unwrap_or(0);
        Range { start, size: end.saturating_sub(start) }
    }

    fn push(&mut self, segment: LoadSegment<'a>, index: u16) -> Result<(), ImageError> {
        if self.iter().any(|other| share_a_page(other, &segment)) {
            return Err(ImageError::Overlap { segment: index });
        }
        *self.table.get_mut(self.count).ok_or(ImageError::TooManySegments)? = segment;
        self.count = self.count.saturating_add(1);
        if self.span().size > SPAN_LIMIT { Err(ImageError::TooLarge) } else { Ok(()) }
    }
}

fn share_a_page(one: &LoadSegment, other: &LoadSegment) -> bool {
    let (one, other) = (one.pages(), other.pages());
    one.start < other.start + other.size && other.start < one.start + one.size
}

/// What the program headers say.
pub(super) struct Program<'a> {
    pub(super) segments: Segments<'a>,
    /// The file's bytes of `PT_DYNAMIC`; empty where there is none.
    pub(super) dynamic: &'a [u8],
    pub(super) alignment: u64,
}

pub(super) fn read_segments<'a>(
    bytes: &'a [u8],
    headers: &SegmentTable<'a, LittleEndian>,
) -> Result<Program<'a>, ImageError> {
    let mut program = Program { segments: Segments::new(), dynamic: &[], alignment: PAGE_SIZE };
    for (index, header) in headers.iter().enumerate() {
        program.add(bytes, &header, u16::try_from(index).unwrap_or(u16::MAX))?;
    }
    if program.segments.count == 0 { Err(ImageError::NoSegments) } else { Ok(program) }
}

impl<'a> Program<'a> {
    fn add(&mut self, bytes: &'a [u8], header: &ProgramHeader, index: u16) -> Result<(), ImageError> {
        match header.p_type {
            abi::PT_LOAD if header.p_memsz != 0 || header.p_filesz != 0 => {
                self.add_load(bytes, header, index)
            }
            abi::PT_DYNAMIC => self.set_dynamic(bytes, header),
            abi::PT_INTERP => Err(ImageError::NeedsDynamicLinker),
            abi::PT_TLS if header.p_memsz != 0 => Err(ImageError::ThreadLocalStorage),
            _ => Ok(()),
        }
    }

    fn set_dynamic(&mut self, bytes: &'a [u8], header: &ProgramHeader) -> Result<(), ImageError> {
        self.dynamic = file_bytes(bytes, header)?;
        Ok(())
    }

    fn add_load(&mut self, bytes: &'a [u8], header: &ProgramHeader, index: u16) -> Result<(), ImageError> {
        check_limits(header, index)?;
        self.raise_alignment(header.p_align, index)?;
        let segment = LoadSegment {
            vaddr: header.p_vaddr,
            data: file_bytes(bytes, header)?,
            memory_size: header.p_memsz,
            write: header.p_flags & abi::PF_W != 0,
            execute: header.p_flags & abi::PF_X != 0,
        };
        if segment.write && segment.execute {
            return Err(ImageError::WritableAndExecutable { segment: index });
        }
        self.segments.push(segment, index)
    }

    fn raise_alignment(&mut self, align: u64, index: u16) -> Result<(), ImageError> {
        let align = align.max(1);
        if !align.is_power_of_two() || align > ALIGNMENT_LIMIT {
            return Err(ImageError::BadAlignment { segment: index });
        }
        self.alignment = self.alignment.max(align);
        Ok(())
    }
}

fn check_limits(header: &ProgramHeader, index: u16) -> Result<(), ImageError> {
    let end = header.p_vaddr.checked_add(header.p_memsz).filter(|&end| end <= ADDRESS_LIMIT);
    if end.is_none() || header.p_filesz > header.p_memsz {
        return Err(ImageError::OutsideLimits { segment: index });
    }
    Ok(())
}

fn file_bytes<'a>(bytes: &'a [u8], header: &ProgramHeader) -> Result<&'a [u8], ImageError> {
    let start = usize::try_from(header.p_offset).ok();
    let size = usize::try_from(header.p_filesz).ok();
    let range = start.zip(size).and_then(|(start, size)| Some(start..start.checked_add(size)?));
    range.and_then(|range| bytes.get(range)).ok_or(ImageError::Truncated)
}
