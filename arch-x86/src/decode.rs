//! Instruction decoding for exits: pure functions on the bytes at the instruction pointer.
//!
//! A processor with next-RIP saving and decode assists needs none of this; many lack one or both. What
//! is decoded comes from a guest and may be anything: every answer is a value or a [`DecodeError`].

mod access;
mod arithmetic;
mod error;
mod exit;
mod general;
mod mmio;
mod pattern;
mod register;

#[cfg(test)]
mod tests;

pub use access::{Extension, MmioAccess, Operation, Source};
pub use arithmetic::{Operator, Outcome};
pub use error::DecodeError;
pub use exit::{exit_length, is_prefix};
pub use general::length;
pub use mmio::decode_mmio;
pub use pattern::ExitInstruction;
pub use register::{Register, Width};

/// The longest instruction, in bytes (APM vol. 3, 1.1 "Instruction Encoding Overview").
pub const LONGEST_INSTRUCTION: usize = 15;

/// The size of operands and addresses that the code segment defaults to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeSize {
    /// Real mode, virtual-8086 mode, and protected mode with CS.D = 0.
    Bits16,
    /// Protected or compatibility mode with CS.D = 1.
    Bits32,
    /// 64-bit mode: EFER.LMA = 1 and CS.L = 1.
    Bits64,
}
