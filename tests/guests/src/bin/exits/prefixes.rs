//! CPUID in every spelling: prefixes are legal and must be skipped with it, wherever it lies.

use plinth_extension_api::abi::CPUID_SIGNATURE_LEAF;
use plinth_test_guests::code::Code;
use plinth_test_guests::{Report, check, cpu, say};

/// The legacy prefixes that CPUID takes (not LOCK), and REX (AMD64 APM vol. 3, 1.2).
const PREFIXES: [u8; 26] = [
    0x66, 0x67, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46,
    0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f,
];

/// The longest instruction, in bytes.
const LONGEST: usize = 15;

/// CPUID itself.
const OPCODE: [u8; 2] = [0x0f, 0xa2];

pub(super) fn run(report: &mut Report) {
    let Some(code) = Code::allocate() else {
        return report.check("cpuid-prefixes", false);
    };
    check!(report, "cpuid-one-prefix", PREFIXES.iter().all(|&one| runs(&code, &[one], 64)));
    let pairs = || PREFIXES.iter().flat_map(|&one| PREFIXES.map(|other| [one, other]));
    check!(report, "cpuid-two-prefixes", pairs().all(|pair| runs(&code, &pair, 64)));
    check!(report, "cpuid-thirteen-prefixes", PREFIXES.iter().all(|&one| runs(&code, &[one; 13], 64)));
    let mixed: [u8; 13] = core::array::from_fn(|index| PREFIXES[index * 2 % 10]);
    check!(report, "cpuid-mixed-prefixes", runs(&code, &mixed, 64));
    let across = (0..=LONGEST).all(|before| runs(&code, &[0x66; 13], before) && runs(&code, &[], before));
    check!(report, "cpuid-across-pages", across);
}

/// Whether CPUID with these prefixes gives what CPUID gives, and what follows it is run.
fn runs(code: &Code, prefixes: &[u8], before: usize) -> bool {
    let mut bytes = [0; LONGEST];
    let length = prefixes.len() + OPCODE.len();
    bytes[..prefixes.len()].copy_from_slice(prefixes);
    bytes[prefixes.len()..length].copy_from_slice(&OPCODE);
    let found = code.cpuid(CPUID_SIGNATURE_LEAF, &bytes[..length], before);
    let same = found == cpu::cpuid(CPUID_SIGNATURE_LEAF, 0)[1];
    if !same {
        say!("cpuid as {:02x?}, {before} bytes before a page: EBX {found:#x}", &bytes[..length]);
    }
    same
}
