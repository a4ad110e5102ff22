//! Instructions of a guest, decoded in each mode. The decoder underneath is another crate's, which panics where its own tables
//! contradict each other: no bytes may bring it there.

use plinth_arch_x86::decode::{
    CodeSize, ExitInstruction, LONGEST_INSTRUCTION, decode_mmio, exit_length, length,
};

/// Decodes what begins at each byte.
pub fn instructions(bytes: &[u8]) {
    for at in 0..bytes.len() {
        let instruction = &bytes[at..bytes.len().min(at + LONGEST_INSTRUCTION + 1)];
        for mode in [CodeSize::Bits16, CodeSize::Bits32, CodeSize::Bits64] {
            decode(mode, instruction);
        }
    }
}

fn decode(mode: CodeSize, bytes: &[u8]) {
    let fits = |length: u8| usize::from(length) <= bytes.len().min(LONGEST_INSTRUCTION);
    if let Ok(length) = length(mode, bytes) {
        assert!(length != 0 && fits(length), "{length} of {bytes:x?}");
    }
    if let Ok(access) = decode_mmio(mode, bytes) {
        assert!(access.length != 0 && fits(access.length), "{access:?} of {bytes:x?}");
    }
    for kind in [ExitInstruction::Cpuid, ExitInstruction::Rdmsr, ExitInstruction::Wrmsr] {
        if let Ok(length) = exit_length(kind, mode, bytes) {
            assert!(length != 0 && fits(length), "{length} of {bytes:x?}");
        }
    }
}
