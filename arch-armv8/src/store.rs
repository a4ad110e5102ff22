//! Decodes a trapped store: which of the guest's registers it writes to which address (Arm ARM, ESR_EL2, "ISS encoding for
//! an exception from a Data Abort"; C4.1, "Loads and Stores").
//!
//! The syndrome describes a store of a single general register. It does not describe a store of a pair, or one that also
//! updates its base register. Compilers emit such stores for loops over a device's registers, so for these the instruction
//! itself is decoded.

use crate::syndrome::{Syndrome, class};

/// The number of the stack pointer, or of XZR.
const SP: usize = 31;

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    /// Bytes of each register: 1, 2, 4 or 8.
    pub(crate) size: u64,
    /// General registers, one behind the other in memory.
    pub(crate) registers: [Option<usize>; 2],
    /// Where, unless FAR_EL2 says so.
    pub(crate) base: Option<Base>,
}

/// A base register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) register: usize,
    /// The address is that much beyond it.
    pub(crate) offset: u64,
    /// It moves on by that much.
    pub(crate) step: u64,
}

impl Store {
    /// What a syndrome says.
    pub(crate) fn described(syndrome: Syndrome) -> Option<Self> {
        const VALID: u64 = 1 << 24;
        if syndrome.class() != class::DATA_ABORT || syndrome.0 & VALID == 0 || !syndrome.is_write() {
            return None;
        }
        let register = (syndrome.0 >> 16) as usize & 0x1F;
        Some(Self { size: 1 << (syndrome.0 >> 22 & 3), registers: [Some(register), None], base: None })
    }

    /// What an instruction does that no syndrome describes.
    pub(crate) fn decoded(instruction: u32) -> Option<Self> {
        let field = |low: u32, bits: u32| (instruction >> low) as usize & ((1 << bits) - 1);
        let signed = |low: u32, bits: u32| ((instruction << (32 - low - bits)) as i32 >> (32 - bits)) as i64;
        let (store, base_register) = (field(0, 5), field(5, 5));
        if base_register == SP {
            // A device is in no stack.
            return None;
        }
        let base = |index: Index, by: i64| {
            let by = by as u64;
            let (offset, step) = match index {
                Index::Post => (0, by),
                Index::Pre => (by, by),
                Index::None => (by, 0),
            };
            Some(Base { register: base_register, offset, step })
        };
        // STR, STRB, STRH with an unscaled, post-indexed or pre-indexed immediate.
        if instruction & 0x3FE0_0000 == 0x3800_0000 {
            let index = Index::of(field(10, 2), [0, 1, 3])?;
            return Some(Self {
                size: 1 << field(30, 2),
                registers: [Some(store), None],
                base: base(index, signed(12, 9)),
            });
        }
        // STP of two words or double words.
        if instruction & 0x7E40_0000 == 0x2800_0000 {
            let index = Index::of(field(23, 2), [2, 1, 3])?;
            let size = if instruction >> 31 == 0 { 4 } else { 8 };
            return Some(Self {
                size,
                registers: [Some(store), Some(field(10, 5))],
                base: base(index, signed(15, 7) * size as i64),
            });
        }
        None
    }
}

/// When the base register moves on.
#[derive(Clone, Copy)]
enum Index {
    None,
    Post,
    Pre,
}

impl Index {
    /// By the codes of these three.
    fn of(code: usize, codes: [usize; 3]) -> Option<Self> {
        let place = codes.iter().position(|known| *known == code)?;
        [Self::None, Self::Post, Self::Pre].get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(register: usize, offset: i64, step: i64) -> Option<Base> {
        Some(Base { register, offset: offset as u64, step: step as u64 })
    }

    #[test]
    fn a_syndrome_describes_a_store() {
        // A word of X7: ISV, SAS 2, SRT 7, WnR; a permission fault.
        let syndrome = Syndrome(0x24 << 26 | 1 << 24 | 2 << 22 | 7 << 16 | 1 << 6 | 0x0F);
        let store = Store { size: 4, registers: [Some(7), None], base: None };
        assert_eq!(Store::described(syndrome), Some(store));
        for other in [1 << 24, 1 << 6, 1 << 26] {
            assert_eq!(Store::described(Syndrome(syndrome.0 ^ other)), None, "no ISV, a load, a fetch");
        }
    }

    #[test]
    fn stores_that_no_syndrome_describes_are_decoded() {
        let one = |size, register, base| Some(Store { size, registers: [Some(register), None], base });
        let two =
            |size, registers: [usize; 2], base| Some(Store { size, registers: registers.map(Some), base });
        // As `llvm-mc` encodes them.
        assert_eq!(Store::decoded(0xB800_4420), one(4, 0, base(1, 0, 4)), "str w0, [x1], #4");
        assert_eq!(Store::decoded(0xB81F_CC20), one(4, 0, base(1, -4, -4)), "str w0, [x1, #-4]!");
        assert_eq!(Store::decoded(0x3800_1443), one(1, 3, base(2, 0, 1)), "strb w3, [x2], #1");
        assert_eq!(Store::decoded(0x7800_2443), one(2, 3, base(2, 0, 2)), "strh w3, [x2], #2");
        assert_eq!(Store::decoded(0xF81F_80BF), one(8, 31, base(5, -8, 0)), "stur xzr, [x5, #-8]");
        assert_eq!(Store::decoded(0x2900_0820), two(4, [0, 2], base(1, 0, 0)), "stp w0, w2, [x1]");
        assert_eq!(Store::decoded(0x2881_0820), two(4, [0, 2], base(1, 0, 8)), "stp w0, w2, [x1], #8");
        assert_eq!(
            Store::decoded(0xA9BF_7C3F),
            two(8, [31, 31], base(1, -16, -16)),
            "stp xzr, xzr, [x1, #-16]!"
        );
    }

    #[test]
    fn nothing_else_is_taken_for_a_store() {
        let others = [
            (0xB840_4420, "ldr w0, [x1], #4"),
            (0xBC00_4420, "str s0, [x1], #4"),
            (0xB800_0820, "sttr w0, [x1]"),
            (0xB820_0020, "ldadd w0, w0, [x1]"),
            (0xB800_47E0, "str w0, [sp], #4"),
            (0x2940_0820, "ldp w0, w2, [x1]"),
            (0x2D00_0820, "stp s0, s2, [x1]"),
            (0x6900_0820, "stgp x0, x2, [x1]"),
            (0x2800_0820, "stnp w0, w2, [x1]"),
            (0xD50B_7421, "dc zva, x1"),
        ];
        for (instruction, name) in others {
            assert_eq!(Store::decoded(instruction), None, "{name}");
        }
    }
}
