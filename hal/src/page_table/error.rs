//! Why a page table refuses.

use super::Attributes;
use crate::OutOfFrames;
use core::fmt;

/// Why an operation on a page table was refused. No translation has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// Something is mapped at this input address already.
    AlreadyMapped(u64),
    /// Nothing is mapped at this input address.
    NotMapped(u64),
    /// An address or the size is not a multiple of the page size.
    Misaligned,
    /// The range is empty, or ends outside the addresses that the table can translate from or to.
    OutOfRange,
    /// The format has no encoding for these attributes.
    Unsupported(Attributes),
    /// No frame is left for a table.
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
