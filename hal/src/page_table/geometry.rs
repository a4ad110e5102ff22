//! The position of an address in the tree: levels, indices, spans.
//!
//! Inside the engine an input address is an *offset*: the address bits below the width of the tree, without
//! the sign extension. Adding a size to an offset never overflows, while adding it to an address at the top
//! of a canonical address space does.

use super::{InputAddress, MapError, PtFormat};
use crate::addr::{PAGE_SIZE, Spa};
use core::ops::Range;

const PAGE_BITS: u32 = PAGE_SIZE.trailing_zeros();

/// Values that follow from a format's constants.
pub(super) trait Geometry: PtFormat {
    /// The level of the root.
    #[inline]
    fn top(&self) -> u8 {
        self.levels().saturating_sub(1)
    }

    /// The level of the tables that entries at `level` refer to. No format decodes a table at level 0.
    #[inline]
    fn below(level: u8) -> u8 {
        level.saturating_sub(1)
    }

    /// The position of the lowest bit of the index at `level`.
    #[inline]
    fn shift(level: u8) -> u32 {
        PAGE_BITS + Self::LEVEL_BITS * u32::from(level)
    }

    /// The bytes that an entry at `level` covers.
    #[inline]
    fn span(level: u8) -> u64 {
        bit(Self::shift(level))
    }

    /// How many bits an offset has.
    #[inline]
    fn input_bits(&self) -> u32 {
        Self::shift(self.levels()) + self.root_extra_bits()
    }

    /// The first offset that the tree does not reach.
    #[inline]
    fn input_end(&self) -> u64 {
        bit(self.input_bits())
    }

    /// How many consecutive frames the root takes.
    #[inline]
    fn root_frames(&self) -> usize {
        1 << self.root_extra_bits()
    }

    /// How many entries a table at `level` has.
    #[inline]
    fn entries(&self, level: u8) -> usize {
        let extra = if level == self.top() { self.root_extra_bits() } else { 0 };
        1 << (Self::LEVEL_BITS + extra)
    }

    /// Which entry of a table at `level` translates `offset`.
    #[inline]
    fn index(&self, offset: u64, level: u8) -> usize {
        offset.wrapping_shr(Self::shift(level)) as usize & self.entries(level).wrapping_sub(1)
    }

    /// The offset of an input address, or `None` where the tree does not reach.
    #[inline]
    fn offset(&self, at: Self::Input) -> Option<u64> {
        let offset = at.into_raw() & self.input_end().wrapping_sub(1);
        (self.address(offset) == at.into_raw()).then_some(offset)
    }

    /// The raw input address of an offset.
    #[inline]
    fn address(&self, offset: u64) -> u64 {
        if !Self::SIGN_EXTENDED {
            return offset;
        }
        let unused = u64::BITS.saturating_sub(self.input_bits());
        ((offset << unused).cast_signed() >> unused).cast_unsigned()
    }

    /// The offsets of `size` bytes from `at` on, refused unless they are whole pages within the tree and
    /// on one side of the canonical hole.
    fn offsets(&self, at: Self::Input, size: u64) -> Result<Range<u64>, MapError> {
        aligned(at.into_raw() | size)?;
        let start = self.offset(at).ok_or(MapError::OutOfRange)?;
        let end = start.checked_add(size).ok_or(MapError::OutOfRange)?;
        let one_side = size != 0
            && self.address(end.wrapping_sub(1)).checked_sub(at.into_raw()) == Some(size.wrapping_sub(1));
        let inside = end <= self.input_end();
        if one_side && inside { Ok(start..end) } else { Err(MapError::OutOfRange) }
    }

    /// Refuses `size` bytes from `spa` on unless they are whole pages that an entry can refer to.
    fn check_output(&self, spa: Spa, size: u64) -> Result<(), MapError> {
        aligned(spa.raw())?;
        let end = spa.checked_add(size).ok_or(MapError::OutOfRange)?;
        if end.raw() <= bit(self.output_bits()) { Ok(()) } else { Err(MapError::OutOfRange) }
    }
}

impl<F: PtFormat + ?Sized> Geometry for F {}

/// The power of two `exponent`. Formats have at most 57 bits of input and 52 of output.
#[inline]
fn bit(exponent: u32) -> u64 {
    1_u64.wrapping_shl(exponent)
}

fn aligned(raw: u64) -> Result<(), MapError> {
    if raw.is_multiple_of(PAGE_SIZE) { Ok(()) } else { Err(MapError::Misaligned) }
}

/// `range` in pieces that each lie within one multiple of `span`.
pub(super) fn pieces(range: Range<u64>, span: u64) -> impl Iterator<Item = Range<u64>> {
    let mut start = range.start;
    core::iter::from_fn(move || {
        let piece = start..next_boundary(start, span).min(range.end);
        start = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The first multiple of `span`, a power of two, after `offset`.
#[inline]
pub(super) fn next_boundary(offset: u64, span: u64) -> u64 {
    (offset | (span - 1)).saturating_add(1)
}
