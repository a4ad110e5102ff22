//! The reasons for which a page-table operation fails.

use super::Attributes;
use crate::OutOfFrames;
use core::fmt;

/// Why an operation on a page table failed. No translation has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// This input address is mapped already.
    AlreadyMapped(u64),
    /// This input address is not mapped.
    NotMapped(u64),
    /// An address or the size is not a multiple of the page size.
    Misaligned,
    /// The range is empty, or exceeds the input or output addresses of the format.
    OutOfRange,
    /// The format has no encoding for these attributes.
    Unsupported(Attributes),
    /// The pool has no frame for a table.
    OutOfFrames,
}

impl From<OutOfFrames> for MapError {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyMapped(at) => write!(f, "{at:#x} is mapped already; unmap it first"),
            Self::NotMapped(at) => write!(f, "{at:#x} is not mapped; the whole range has to be"),
            Self::Misaligned => f.write_str("address or size is not a multiple of 4096; round them"),
            Self::OutOfRange => f.write_str("the range is empty or beyond the address width; check its size"),
            Self::Unsupported(Attributes { permissions, memory }) => {
                write!(f, "no encoding for {permissions:?} on {memory:?} memory; ask for other attributes")
            }
            Self::OutOfFrames => f.write_str("no frame is left for a table; unmap or merge something first"),
        }
    }
}

impl core::error::Error for MapError {}
