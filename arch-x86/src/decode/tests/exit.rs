//! Lengths of the instructions that exits name, with real encodings.

use crate::decode::{CodeSize, DecodeError, ExitInstruction as Kind, exit_length, length};
use proptest::prelude::*;

const MODES: [CodeSize; 3] = [CodeSize::Bits16, CodeSize::Bits32, CodeSize::Bits64];

#[test]
fn bare_opcodes() {
    let cases: [(Kind, &[u8]); 24] = [
        (Kind::Cpuid, &[0x0f, 0xa2]),
        (Kind::Rdmsr, &[0x0f, 0x32]),
        (Kind::Wrmsr, &[0x0f, 0x30]),
        (Kind::Vmmcall, &[0x0f, 0x01, 0xd9]),
        (Kind::Vmcall, &[0x0f, 0x01, 0xc1]),
        (Kind::Hlt, &[0xf4]),
        (Kind::Xsetbv, &[0x0f, 0x01, 0xd1]),
        (Kind::Rdtsc, &[0x0f, 0x31]),
        (Kind::Rdtscp, &[0x0f, 0x01, 0xf9]),
        (Kind::Rdpmc, &[0x0f, 0x33]),
        (Kind::Invd, &[0x0f, 0x08]),
        (Kind::Wbinvd, &[0x0f, 0x09]),
        (Kind::Wbinvd, &[0xf3, 0x0f, 0x09]),
        (Kind::Pause, &[0xf3, 0x90]),
        (Kind::Monitor, &[0x0f, 0x01, 0xc8]),
        (Kind::Monitor, &[0x0f, 0x01, 0xfa]),
        (Kind::Mwait, &[0x0f, 0x01, 0xfb]),
        (Kind::Invlpga, &[0x0f, 0x01, 0xdf]),
        (Kind::Vmrun, &[0x0f, 0x01, 0xd8]),
        (Kind::Rsm, &[0x0f, 0xaa]),
        (Kind::MovFromControl, &[0x0f, 0x20, 0xc0]),
        (Kind::MovToControl, &[0x0f, 0x22, 0xd8]),
        (Kind::MovToDebug, &[0x0f, 0x23, 0xf8]),
        (Kind::Clts, &[0x0f, 0x06]),
    ];
    for (kind, bytes) in cases {
        for mode in MODES {
            assert_eq!(exit_length(kind, mode, bytes), Ok(bytes.len() as u8), "{kind:?}");
        }
    }
}

#[test]
fn prefixes_count() {
    let long = CodeSize::Bits64;
    assert_eq!(exit_length(Kind::Cpuid, long, &[0x66, 0x0f, 0xa2, 0x90]), Ok(3));
    assert_eq!(exit_length(Kind::Cpuid, long, &[0x48, 0x0f, 0xa2]), Ok(3));
    assert_eq!(exit_length(Kind::Hlt, long, &[0xf3, 0x2e, 0x41, 0xf4]), Ok(4));
    assert_eq!(exit_length(Kind::Pause, long, &[0xf3, 0x66, 0x90]), Ok(3));
    assert_eq!(exit_length(Kind::MovToControl, long, &[0x44, 0x0f, 0x22, 0xc0]), Ok(4));
    assert_eq!(exit_length(Kind::MovFromControl, CodeSize::Bits32, &[0xf0, 0x0f, 0x20, 0xc0]), Ok(4));
}

#[test]
fn rex_is_an_instruction_outside_64_bit_mode() {
    for mode in [CodeSize::Bits16, CodeSize::Bits32] {
        assert_eq!(exit_length(Kind::Cpuid, mode, &[0x48, 0x0f, 0xa2]), Err(DecodeError::Mismatch));
    }
}

#[test]
fn operands_are_measured() {
    let long = CodeSize::Bits64;
    assert_eq!(exit_length(Kind::Invlpg, long, &[0x0f, 0x01, 0x38]), Ok(3));
    assert_eq!(exit_length(Kind::Invlpg, long, &[0x0f, 0x01, 0x7c, 0x24, 0x08]), Ok(5));
    assert_eq!(exit_length(Kind::Invlpg, long, &[0x41, 0x0f, 0x01, 0xbf, 1, 2, 3, 4]), Ok(8));
    assert_eq!(exit_length(Kind::Lmsw, CodeSize::Bits16, &[0x0f, 0x01, 0xf0]), Ok(3));
    assert_eq!(exit_length(Kind::Lmsw, CodeSize::Bits16, &[0x0f, 0x01, 0x36, 0x34, 0x12]), Ok(5));
    assert_eq!(exit_length(Kind::Smsw, CodeSize::Bits32, &[0x0f, 0x01, 0xe0]), Ok(3));
    assert_eq!(exit_length(Kind::Invlpg, long, &[0x0f, 0x01, 0x30]), Err(DecodeError::Mismatch));
}

#[test]
fn fifteen_bytes_at_most() {
    let mut bytes = [0x66; 16];
    bytes[13..15].copy_from_slice(&[0x0f, 0xa2]);
    assert_eq!(exit_length(Kind::Cpuid, CodeSize::Bits64, &bytes), Ok(15));
    bytes[13..].copy_from_slice(&[0x66, 0x0f, 0xa2]);
    assert_eq!(exit_length(Kind::Cpuid, CodeSize::Bits64, &bytes), Err(DecodeError::TooLong));
    assert_eq!(exit_length(Kind::Pause, CodeSize::Bits64, &[0xf3; 16]), Err(DecodeError::TooLong));
}

#[test]
fn what_is_missing_is_told_from_what_is_wrong() {
    let cpuid = |bytes: &[u8]| exit_length(Kind::Cpuid, CodeSize::Bits64, bytes);
    assert_eq!(cpuid(&[]), Err(DecodeError::Incomplete));
    assert_eq!(cpuid(&[0x66, 0x0f]), Err(DecodeError::Incomplete));
    assert_eq!(cpuid(&[0x0f, 0x31]), Err(DecodeError::Mismatch));
    let pause = |bytes: &[u8]| exit_length(Kind::Pause, CodeSize::Bits64, bytes);
    assert_eq!(pause(&[0x90]), Err(DecodeError::Mismatch));
    assert_eq!(pause(&[0xf3]), Err(DecodeError::Incomplete));
    let rdtscp_reported_as_rdtsc = exit_length(Kind::Rdtsc, CodeSize::Bits64, &[0x0f, 0x01, 0xf9]);
    assert_eq!(rdtscp_reported_as_rdtsc, Err(DecodeError::Mismatch));
}

fn mode() -> impl Strategy<Value = CodeSize> {
    prop::sample::select(&MODES[..])
}

const KINDS: [Kind; 6] =
    [Kind::Cpuid, Kind::Pause, Kind::Invlpg, Kind::Smsw, Kind::MovToControl, Kind::Monitor];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    #[test]
    fn any_bytes_have_an_answer(
        mode in mode(),
        kind in prop::sample::select(&KINDS[..]),
        bytes in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        if let Ok(found) = exit_length(kind, mode, &bytes) {
            prop_assert!(usize::from(found) <= bytes.len().min(15));
        }
        if let Ok(found) = length(mode, &bytes) {
            prop_assert!((1..=bytes.len().min(15)).contains(&usize::from(found)));
        }
    }

    /// The two ways to measure agree wherever both know the instruction.
    #[test]
    fn lengths_agree(
        mode in mode(),
        prefixes in prop::collection::vec(prop::sample::select(&[0x2e_u8, 0x3e, 0x64, 0x65][..]), 0..16),
    ) {
        let mut bytes = prefixes;
        bytes.extend([0x0f, 0xa2]);
        prop_assert_eq!(exit_length(Kind::Cpuid, mode, &bytes), length(mode, &bytes));
    }
}
