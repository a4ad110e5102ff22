//! The arithmetic that read-modify-write instructions do, flags included.

use super::Width;

const CARRY: u64 = 1 << 0;
const PARITY: u64 = 1 << 2;
const ADJUST: u64 = 1 << 4;
const ZERO: u64 = 1 << 6;
const SIGN: u64 = 1 << 7;
const OVERFLOW: u64 = 1 << 11;

/// How memory is combined with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    /// Sum
    Add,
    /// Difference, memory − value
    Subtract,
    /// Bitwise and
    And,
    /// Bitwise or
    Or,
    /// Bitwise exclusive or
    Xor,
}

/// What comes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The value that memory takes.
    pub value: u64,
    /// The arithmetic flags, where they are in RFLAGS; the other bits are 0.
    pub flags: u64,
}

impl Outcome {
    /// The arithmetic flags of RFLAGS: CF, PF, AF, ZF, SF and OF (APM vol. 1, 3.1.4 "Flags Register").
    pub const FLAGS: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;

    /// What `rflags` becomes.
    pub const fn update(self, rflags: u64) -> u64 {
        (rflags & !Self::FLAGS) | self.flags
    }
}

impl Operator {
    /// Combines `memory` with `value`, both of `width`.
    pub fn apply(self, width: Width, memory: u64, value: u64) -> Outcome {
        let (memory, value) = (memory & width.mask(), value & width.mask());
        let result = self.combine(memory, value) & width.mask();
        let flags = result_flags(result, width) | self.carry_flags(memory, value, result, width);
        Outcome { value: result, flags }
    }

    fn combine(self, memory: u64, value: u64) -> u64 {
        match self {
            Self::Add => memory.wrapping_add(value),
            Self::Subtract => memory.wrapping_sub(value),
            Self::And => memory & value,
            Self::Or => memory | value,
            Self::Xor => memory ^ value,
        }
    }

    /// CF, AF and OF. The logical operators clear them; AF is undefined there.
    fn carry_flags(self, memory: u64, value: u64, result: u64, width: Width) -> u64 {
        let (carry, overflow) = match self {
            Self::Add => (result < memory, (memory ^ result) & (value ^ result)),
            Self::Subtract => (memory < value, (memory ^ value) & (memory ^ result)),
            Self::And | Self::Or | Self::Xor => return 0,
        };
        let adjust = (memory ^ value ^ result) & ADJUST;
        flag(carry, CARRY) | adjust | flag(overflow & width.sign_bit() != 0, OVERFLOW)
    }
}

/// PF, ZF and SF.
fn result_flags(result: u64, width: Width) -> u64 {
    let even = (result as u8).count_ones().is_multiple_of(2);
    flag(even, PARITY) | flag(result == 0, ZERO) | flag(result & width.sign_bit() != 0, SIGN)
}

fn flag(condition: bool, bit: u64) -> u64 {
    if condition { bit } else { 0 }
}
