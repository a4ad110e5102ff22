//! What an instruction does to the memory operand that caused an exit.

use super::{Operator, Register, Width};

/// One instruction that accesses memory once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioAccess {
    /// The length of the instruction in bytes.
    pub length: u8,
    /// The width of the access to memory.
    pub width: Width,
    /// What it does.
    pub operation: Operation,
}

impl MmioAccess {
    /// Whether memory is written.
    pub const fn writes(&self) -> bool {
        !matches!(self.operation, Operation::Load { .. })
    }

    /// Whether memory is read.
    pub const fn reads(&self) -> bool {
        !matches!(self.operation, Operation::Store(_))
    }
}

/// What is done with memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// It takes a value.
    Store(Source),
    /// It is read into a register.
    Load {
        /// The register, which may be wider than the access.
        destination: Register,
        /// How the value is widened.
        extension: Extension,
    },
    /// It is read, combined with a value, and written; the arithmetic flags change.
    Modify {
        /// How it is combined.
        operator: Operator,
        /// With what.
        source: Source,
    },
    /// It changes places with a register.
    Exchange(Register),
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A register.
    Register(Register),
    /// The instruction itself; cut to the width of the access.
    Immediate(u64),
}

impl Source {
    /// The value, `read` giving the whole of a register by its number.
    pub fn value(self, read: impl FnOnce(u8) -> u64) -> u64 {
        match self {
            Self::Register(register) => register.read(read(register.number)),
            Self::Immediate(value) => value,
        }
    }
}

/// How a value is widened to its destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extension {
    /// By zeroes, or not at all.
    Zero,
    /// By its sign bit.
    Sign,
}

impl Extension {
    /// A value of width `from`, widened to 64 bits.
    pub const fn extend(self, value: u64, from: Width) -> u64 {
        let value = value & from.mask();
        match self {
            Self::Zero => value,
            Self::Sign => (value ^ from.sign_bit()).wrapping_sub(from.sign_bit()),
        }
    }
}
