//! Why bytes were not decoded.

use core::fmt;

/// Why bytes were not decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The instruction goes on after the bytes given.
    Incomplete,
    /// More than 15 bytes: the processor raises #GP.
    TooLong,
    /// Another instruction than the exit named: the guest changed it meanwhile.
    Mismatch,
    /// Not an instruction: the processor raises #UD.
    Invalid,
    /// An instruction, but none that accesses memory in a way that can be carried out here.
    Unsupported,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "the instruction is cut off; fetch the bytes of the next page too",
            Self::TooLong => "the instruction is longer than 15 bytes; inject #GP",
            Self::Mismatch => "not the instruction that caused the exit; run the guest again",
            Self::Invalid => "not a valid instruction; inject #UD",
            Self::Unsupported => "not a memory access that can be emulated; let the guest use MOV",
        })
    }
}

impl core::error::Error for DecodeError {}
