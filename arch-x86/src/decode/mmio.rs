//! What the instruction behind a nested page fault does to memory.

use super::general::{Decoded, Mnemonic, Operand, decode};
use super::{CodeSize, DecodeError, Extension, MmioAccess, Operation, Source, Width};

/// What the instruction at the start of `bytes` does to its memory operand: MOV, MOVZX, MOVSX, XCHG,
/// ADD, SUB, AND, OR and XOR, which is what compilers make of accesses to device registers.
///
/// The address is not computed: the exit has told it.
///
/// # Errors
///
/// `Unsupported` for any other instruction; `Incomplete`, `TooLong` or `Invalid`.
pub fn decode_mmio(mode: CodeSize, bytes: &[u8]) -> Result<MmioAccess, DecodeError> {
    let decoded = decode(mode, bytes)?;
    let width = Width::from_bytes(decoded.memory_width).ok_or(DecodeError::Unsupported)?;
    let operation = operation(&decoded).ok_or(DecodeError::Unsupported)?;
    Ok(MmioAccess { length: decoded.length, width, operation })
}

fn operation(decoded: &Decoded) -> Option<Operation> {
    match (&decoded.mnemonic, decoded.operands) {
        (Mnemonic::Move, [Operand::Memory, from]) => source(from).map(Operation::Store),
        (Mnemonic::Move | Mnemonic::MoveZeroExtended, [to, Operand::Memory]) => load(to, Extension::Zero),
        (Mnemonic::MoveSignExtended, [to, Operand::Memory]) => load(to, Extension::Sign),
        (Mnemonic::Exchange, [Operand::Memory, Operand::Register(register)])
        | (Mnemonic::Exchange, [Operand::Register(register), Operand::Memory]) => {
            Some(Operation::Exchange(register))
        }
        (&Mnemonic::Arithmetic(operator), [Operand::Memory, from]) => {
            source(from).map(|source| Operation::Modify { operator, source })
        }
        _ => None,
    }
}

fn source(operand: Operand) -> Option<Source> {
    match operand {
        Operand::Register(register) => Some(Source::Register(register)),
        Operand::Immediate(value) => Some(Source::Immediate(value)),
        Operand::Memory | Operand::Other => None,
    }
}

fn load(operand: Operand, extension: Extension) -> Option<Operation> {
    let Operand::Register(destination) = operand else { return None };
    Some(Operation::Load { destination, extension })
}
