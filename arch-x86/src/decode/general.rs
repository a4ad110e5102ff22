//! The decoder underneath, brought down to what the exits need and to one type for all modes.

use super::{CodeSize, DecodeError, LONGEST_INSTRUCTION, Operator, Register, Width};

/// An instruction, as far as it matters here.
pub(super) struct Decoded {
    pub(super) length: u8,
    pub(super) mnemonic: Mnemonic,
    /// The width of the memory operand in bytes, 0 where there is none.
    pub(super) memory_width: u8,
    pub(super) operands: [Operand; 2],
}

pub(super) enum Mnemonic {
    Move,
    MoveZeroExtended,
    MoveSignExtended,
    Exchange,
    Arithmetic(Operator),
    Other,
}

#[derive(Clone, Copy)]
pub(super) enum Operand {
    Memory,
    Register(Register),
    Immediate(u64),
    Other,
}

/// How long the instruction at the start of `bytes` is, in bytes.
///
/// # Errors
///
/// `Incomplete`, `TooLong` or `Invalid`.
pub fn length(mode: CodeSize, bytes: &[u8]) -> Result<u8, DecodeError> {
    decode(mode, bytes).map(|decoded| decoded.length)
}

/// Decodes the instruction at the start of `bytes`.
pub(super) fn decode(mode: CodeSize, bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let bytes = &bytes[..bytes.len().min(LONGEST_INSTRUCTION)];
    let full = bytes.len() == LONGEST_INSTRUCTION;
    match mode {
        CodeSize::Bits16 => bits16::decode(bytes),
        CodeSize::Bits32 => bits32::decode(bytes),
        CodeSize::Bits64 => bits64::decode(bytes),
    }
    .map_err(|error| if full && error == DecodeError::Incomplete { DecodeError::TooLong } else { error })
}

/// Makes the decoder of one mode: the modes have alike, but separate, types.
macro_rules! decoder {
    ($name:ident, $mode:ident, $signed:tt, $immediates:tt, $classes:tt) => {
        mod $name {
            use super::{DecodeError, Decoded, Mnemonic, Operand, Operator, Register, Width};
            use yaxpeax_arch::LengthedInstruction;
            use yaxpeax_x86::$mode::{self as raw, DecodeError as Error, Opcode};

            pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
                let instruction = raw::InstDecoder::default().decode_slice(bytes).map_err(error)?;
                let memory = instruction.mem_size().and_then(|size| size.bytes_size());
                Ok(Decoded {
                    length: instruction.len().to_const() as u8,
                    mnemonic: mnemonic(instruction.opcode()),
                    memory_width: memory.unwrap_or(0),
                    operands: [operand(instruction.operand(0)), operand(instruction.operand(1))],
                })
            }

            fn error(error: Error) -> DecodeError {
                match error {
                    Error::ExhaustedInput => DecodeError::Incomplete,
                    Error::TooLong => DecodeError::TooLong,
                    _ => DecodeError::Invalid,
                }
            }

            decoder!(@mnemonic $signed);
            decoder!(@operand $immediates);
            decoder!(@register $classes);
        }
    };
    (@mnemonic [$($signed:ident),*]) => {
        fn mnemonic(opcode: Opcode) -> Mnemonic {
            match opcode {
                Opcode::MOV => Mnemonic::Move,
                Opcode::MOVZX => Mnemonic::MoveZeroExtended,
                $(Opcode::$signed => Mnemonic::MoveSignExtended,)*
                Opcode::XCHG => Mnemonic::Exchange,
                Opcode::ADD => Mnemonic::Arithmetic(Operator::Add),
                Opcode::SUB => Mnemonic::Arithmetic(Operator::Subtract),
                Opcode::AND => Mnemonic::Arithmetic(Operator::And),
                Opcode::OR => Mnemonic::Arithmetic(Operator::Or),
                Opcode::XOR => Mnemonic::Arithmetic(Operator::Xor),
                _ => Mnemonic::Other,
            }
        }
    };
    (@operand [$($immediate:ident),*]) => {
        fn operand(operand: raw::Operand) -> Operand {
            match operand {
                raw::Operand::Register { reg } => register(reg).map_or(Operand::Other, Operand::Register),
                $(raw::Operand::$immediate { imm } => Operand::Immediate(imm as u64),)*
                other if other.is_memory() => Operand::Memory,
                _ => Operand::Other,
            }
        }
    };
    (@register [$($class:ident $width:ident),*]) => {
        /// Byte registers 4 to 7 are AH to BH, but with REX, which makes them a class of their own.
        fn register(reg: raw::RegSpec) -> Option<Register> {
            use raw::register_class;
            let number = reg.num();
            match reg.class() {
                register_class::B => {
                    let high_byte = number >= 4;
                    Some(Register { number: number & 3, width: Width::Byte, high_byte })
                }
                $(register_class::$class => {
                    Some(Register { number, width: Width::$width, high_byte: false })
                })*
                _ => None,
            }
        }
    };
}

decoder!(
    bits64,
    long_mode,
    [MOVSX, MOVSXD],
    [
        ImmediateI8, ImmediateU8, ImmediateI16, ImmediateU16, ImmediateI32, ImmediateU32, ImmediateI64,
        ImmediateU64
    ],
    [RB Byte, W Word, D Double, Q Quad]
);
decoder!(
    bits32,
    protected_mode,
    [MOVSX],
    [ImmediateI8, ImmediateU8, ImmediateI16, ImmediateU16, ImmediateI32, ImmediateU32],
    [W Word, D Double]
);
decoder!(
    bits16,
    real_mode,
    [MOVSX],
    [ImmediateI8, ImmediateU8, ImmediateI16, ImmediateU16, ImmediateI32, ImmediateU32],
    [W Word, D Double]
);
