//! Random guests on Arm: code at EL1 without an MMU, whose vectors skip what has faulted.

use plinth_extension_api::abi::register::INSTRUCTION_POINTER;
use plinth_extension_api::{Exit, ExitClass, Failure, Plinth, VmId, VsId};
use plinth_test_extensions::random::Random;

use super::guest::{Memory, PAGE, PAGES};

/// Where its code begins. Its vectors are at 0, where VBAR_EL1 points after a reset.
const ENTRY: usize = 0x800;
/// A vector of each kind: synchronous exceptions skip the instruction, all else returns.
const SKIP: [u32; 4] = [
    0xD538_4030, // mrs x16, elr_el1
    0x9100_1210, // add x16, x16, #4
    0xD518_4030, // msr elr_el1, x16
    0xD69F_03E0, // eret
];
const RETURN: [u32; 1] = [0xD69F_03E0];
const VECTOR_SIZE: usize = 0x80;
/// Vectors come in fours: synchronous, IRQ, FIQ, SError.
const VECTORS: usize = 16;

/// There is but one.
#[derive(Clone, Copy)]
pub(super) struct Kind;

impl Kind {
    pub(super) fn pick(_: &mut Random) -> Self {
        Self
    }
}

/// All that a guest reaches at EL1 is its own already.
pub(super) fn open(_: Plinth, _: VmId) -> Result<(), Failure> {
    Ok(())
}

pub(super) fn fill(memory: &mut Memory, _: Kind, random: &mut Random) {
    let bytes = memory.as_flattened_mut();
    for word in bytes[ENTRY..].chunks_exact_mut(4) {
        word.copy_from_slice(&instruction(random).to_le_bytes());
    }
    for vector in 0..VECTORS {
        let code: &[u32] = if vector % 4 == 0 { &SKIP } else { &RETURN };
        for (place, word) in bytes[vector * VECTOR_SIZE..].chunks_exact_mut(4).zip(code) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// An instruction (Arm ARM, C4.1), most often one that a hypervisor has to do with.
fn instruction(random: &mut Random) -> u32 {
    const IMMEDIATE: u32 = 0x1F_FFE0;
    let any = random.next() as u32;
    match random.below(16) {
        // MRS, MSR, SYS, hints, barriers, PSTATE.
        0..6 => 0xD500_0000 | any & 0x3F_FFFF,
        // SVC, HVC, SMC.
        6 => 0xD400_0000 | any & IMMEDIATE | (1 + any % 3),
        // Loads and stores of a register, and of a SIMD one.
        7 => 0x3900_0000 | any & 0xC0FF_FFFF,
        8 => 0x3D00_0000 | any & 0xC0FF_FFFF,
        // MOVZ and MOVN: numbers for the others.
        9 | 10 => 0x9280_0000 | any & 0x407F_FFFF,
        // SIMD with an immediate, floating point.
        11 => 0x0F00_0400 | any & 0x600F_FBFF,
        12 => 0x1E20_0000 | any & 0x00DF_FFFF,
        // WFE, WFI, ERET.
        13 => [0xD503_205F, 0xD503_207F, 0xD69F_03E0][any as usize % 3],
        _ => any,
    }
}

/// Gives a new VS its first instruction, and numbers.
pub(super) fn start(plinth: Plinth, vs: VsId, _: Kind, random: &mut Random) -> Result<(), Failure> {
    for register in 0..31 {
        let value = if random.below(2) == 0 { random.below((PAGE * PAGES) as u64) } else { random.next() };
        plinth.vs_write(vs, register, value)?;
    }
    plinth.vs_write(vs, INSTRUCTION_POINTER, ENTRY as u64)
}

/// Where it goes on: behind the instruction, or anywhere.
pub(super) fn after(exit: &Exit<'_>, random: &mut Random) -> u64 {
    let next = exit.instruction_pointer().wrapping_add(4);
    let lies_there = (ENTRY as u64..(PAGE * PAGES) as u64).contains(&next);
    if lies_there && exit.class() != ExitClass::Memory && random.below(16) != 0 {
        return next;
    }
    ENTRY as u64 + random.below((PAGE * PAGES - ENTRY) as u64 / 4) * 4
}
