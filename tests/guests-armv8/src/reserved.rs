//! Writes of every kind, for memory that keeps none of them: sizes, pairs, exclusives, vectors, atomics, cache maintenance.

use core::arch::asm;

use crate::read;
use crate::trap::{Trap, catch};

/// What is written, byte by byte.
const BYTE: u64 = 0x5A;
/// Eight of them.
const PATTERN: u64 = 0x5A5A_5A5A_5A5A_5A5A;

/// Writes in a way of its own to an address that is a multiple of 64.
type Write = fn(u64) -> Option<Trap>;

macro_rules! writes {
    ($($instruction:literal),* $(,)?) => {
        [$(|address| {
            // SAFETY: the address is the hypervisor's, where nothing stays. V0 to V3 are nobody's: the rest of the image is soft-float.
            catch(|| unsafe {
                asm!(
                    ".arch_extension fp", ".arch_extension simd", ".arch_extension lse",
                    $instruction,
                    inout("x1") address => _, inout("x2") PATTERN => _, inout("x3") PATTERN => _,
                    inout("x4") 0_u64 => _, inout("x5") 0_u64 => _,
                    options(nostack)
                )
            })
        }),*]
    };
}

/// What every processor has.
const WRITES: [Write; 20] = writes![
    "strb w2, [x1, #3]",
    "strh w2, [x1, #6]",
    "str w2, [x1, #4]",
    "str x2, [x1]",
    "str x2, [x1], #16",
    "str x2, [x1, #8]!",
    "stur x2, [x1, #5]",
    "stp w2, w3, [x1]",
    "stp x2, x3, [x1, #16]",
    "stnp x2, x3, [x1]",
    "stlr x2, [x1]",
    // An exclusive store may be refused, and that is no write either.
    "ldxr x4, [x1]\n stxr w5, x2, [x1]",
    "ldaxp x4, x5, [x1]\n stlxp w5, x2, x3, [x1]",
    "dup v0.2d, x2\n str q0, [x1]",
    "dup v0.2d, x2\n mov v1.16b, v0.16b\n stp q0, q1, [x1]",
    "dup v0.2d, x2\n mov v1.16b, v0.16b\n mov v2.16b, v0.16b\n mov v3.16b, v0.16b\n st4 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [x1]",
    "dc zva, x1",
    "dc ivac, x1",
    "dc cvac, x1\n dc civac, x1",
    "dc cvau, x1\n ic ivau, x1\n prfm pstl1keep, [x1]",
];

/// What processors with atomic instructions have (FEAT_LSE).
const ATOMICS: [Write; 6] = writes![
    "casal x4, x2, [x1]",
    "mov x5, xzr\n casp x4, x5, x2, x3, [x1]",
    "swpal x2, x4, [x1]",
    "ldaddal x2, x4, [x1]",
    "stset x2, [x1]",
    "ldumaxb w2, w4, [x1]",
];

/// How many ways this processor has.
pub fn kinds() -> usize {
    let atomics = read!("id_aa64isar0_el1") >> 20 & 0xF >= 2;
    WRITES.len() + if atomics { ATOMICS.len() } else { 0 }
}

/// Writes in way `kind`, of [`kinds`], to an address that is a multiple of 64. Returns the exception.
pub fn write(kind: usize, address: u64) -> Option<Trap> {
    WRITES.get(kind).or_else(|| ATOMICS.get(kind - WRITES.len())).and_then(|write| write(address))
}

/// Reads the 64 bytes at an address. Returns whether they are zeroes; `None` where reading raises an exception.
pub fn is_zero(address: u64) -> Option<bool> {
    let mut seen = 0;
    let trap = catch(|| (0..8).for_each(|word| seen |= load(address + word * 8)));
    trap.is_none().then_some(seen == 0)
}

/// Whether each byte of a word is a zero, or what another processor is writing at this moment.
pub fn is_passing(address: u64) -> bool {
    let mut word = 0;
    let trap = catch(|| word = load(address));
    trap.is_none() && word.to_le_bytes().iter().all(|byte| u64::from(*byte) & !BYTE == 0)
}

/// Eight bytes of any address.
pub fn load(address: u64) -> u64 {
    let value;
    // SAFETY: reading memory changes nothing; an exception is caught by the callers.
    unsafe {
        asm!("mov {value}, xzr", "ldr {value}, [{address}]", value = out(reg) value, address = in(reg) address, options(nostack, readonly))
    };
    value
}
