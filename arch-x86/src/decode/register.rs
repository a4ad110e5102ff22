//! General-purpose registers as operands: which one, and which part of it.

/// The width of an operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 1 byte
    Byte,
    /// 2 bytes
    Word,
    /// 4 bytes
    Double,
    /// 8 bytes
    Quad,
}

impl Width {
    /// The width of this many bytes, if there is one.
    pub const fn from_bytes(bytes: u8) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Word),
            4 => Some(Self::Double),
            8 => Some(Self::Quad),
            _ => None,
        }
    }

    /// In bytes.
    pub const fn bytes(self) -> u8 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Double => 4,
            Self::Quad => 8,
        }
    }

    /// The bits that a value of this width has.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }

    /// The topmost of these bits.
    pub const fn sign_bit(self) -> u64 {
        1 << (8 * self.bytes() - 1)
    }
}

/// A general-purpose register, or the part of it that an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Register {
    /// 0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 RSP, 5 RBP, 6 RSI, 7 RDI, 8–15 R8–R15.
    pub number: u8,
    /// How much of it.
    pub width: Width,
    /// Bits 15:8 are meant: AH, CH, DH or BH.
    pub high_byte: bool,
}

impl Register {
    /// The operand's value, `whole` being the 64-bit register's.
    pub const fn read(self, whole: u64) -> u64 {
        let shifted = if self.high_byte { whole >> 8 } else { whole };
        shifted & self.width.mask()
    }

    /// What `whole` becomes when `value` is written to the operand. Four bytes clear the upper half, fewer
    /// leave the rest alone (APM vol. 1, 3.1.2 "64-Bit-Mode Registers").
    pub const fn write(self, whole: u64, value: u64) -> u64 {
        match self.width {
            Width::Quad => value,
            Width::Double => value & self.width.mask(),
            Width::Byte | Width::Word => {
                let shift = if self.high_byte { 8 } else { 0 };
                let mask = self.width.mask();
                (whole & !(mask << shift)) | (value & mask) << shift
            }
        }
    }
}
