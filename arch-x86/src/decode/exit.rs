//! The length of the instruction that an exit names, for processors that do not save the next RIP.

use super::general::length;
use super::pattern::Pattern;
use super::{CodeSize, DecodeError, ExitInstruction, LONGEST_INSTRUCTION};

/// How long the instruction at the start of `bytes` is, in bytes: the one that the exit named, with
/// whatever prefixes the guest gave it.
///
/// `bytes` may go on after the instruction, and should be 15 bytes where memory allows. Hot: the bare
/// opcode is compared first, and with a constant `kind` nothing else is inlined.
///
/// # Errors
///
/// `Incomplete`, `TooLong` or, if there is another instruction, `Mismatch`.
#[inline]
pub fn exit_length(kind: ExitInstruction, mode: CodeSize, bytes: &[u8]) -> Result<u8, DecodeError> {
    if let Some(Pattern::Fixed(opcode)) = kind.patterns().first()
        && bytes.starts_with(opcode)
    {
        return Ok(opcode.len() as u8);
    }
    prefixed_length(kind, mode, bytes)
}

#[inline(never)]
fn prefixed_length(kind: ExitInstruction, mode: CodeSize, bytes: &[u8]) -> Result<u8, DecodeError> {
    let stripped = Stripped::new(mode, bytes);
    let mut verdict = DecodeError::Mismatch;
    for &pattern in kind.patterns() {
        match stripped.length(pattern) {
            Ok(length) => return Ok(length),
            Err(DecodeError::Mismatch) => {}
            Err(other) => verdict = other,
        }
    }
    Err(verdict)
}

/// Bytes of an instruction, 15 at most, parted after the prefixes.
struct Stripped<'a> {
    mode: CodeSize,
    all: &'a [u8],
    prefixes: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Stripped<'a> {
    fn new(mode: CodeSize, bytes: &'a [u8]) -> Self {
        let all = &bytes[..bytes.len().min(LONGEST_INSTRUCTION)];
        let count = all.iter().take_while(|&&byte| is_prefix(byte, mode)).count();
        // PANIC: it counts bytes of this slice.
        let (prefixes, rest) = all.split_at(count);
        Self { mode, all, prefixes, rest }
    }

    /// The whole length, if the instruction is as the pattern says.
    fn length(&self, pattern: Pattern) -> Result<u8, DecodeError> {
        match pattern {
            Pattern::Fixed(opcode) => self.fixed(opcode, 0),
            Pattern::Repeated(opcode) if self.prefixes.contains(&0xf3) => self.fixed(opcode, 0),
            Pattern::Repeated(_) if !self.rest.is_empty() => Err(DecodeError::Mismatch),
            Pattern::Repeated(_) => Err(self.cut_off()),
            Pattern::Registers(opcode) => self.fixed(opcode, 1),
            Pattern::Operand(field) => self.operand(field),
        }
    }

    /// `opcode`, then `more` bytes of whatever value.
    fn fixed(&self, opcode: &[u8], more: usize) -> Result<u8, DecodeError> {
        let length = opcode.len() + more;
        if !self.rest.iter().zip(opcode).all(|(found, wanted)| found == wanted) {
            Err(DecodeError::Mismatch)
        } else if self.rest.len() < length {
            Err(self.cut_off())
        } else {
            Ok((self.prefixes.len() + length) as u8)
        }
    }

    /// 0F 01 with `field` in ModRM.reg, then an operand.
    fn operand(&self, field: u8) -> Result<u8, DecodeError> {
        self.fixed(&[0x0f, 0x01], 1)?;
        let reg_field = self.rest[2] >> 3 & 7;
        if reg_field == field { length(self.mode, self.all) } else { Err(DecodeError::Mismatch) }
    }

    /// Why an instruction that goes on after the bytes can't be measured.
    fn cut_off(&self) -> DecodeError {
        let full = self.all.len() == LONGEST_INSTRUCTION;
        if full { DecodeError::TooLong } else { DecodeError::Incomplete }
    }
}

/// Legacy prefixes (APM vol. 3, 1.2.1) and, in 64-bit mode, REX (1.2.7).
#[inline]
pub const fn is_prefix(byte: u8, mode: CodeSize) -> bool {
    match byte {
        0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => true,
        0x40..=0x4f => matches!(mode, CodeSize::Bits64),
        _ => false,
    }
}
