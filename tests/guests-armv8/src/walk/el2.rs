//! All that belongs to higher exception levels: MSR, MRS and system instructions with each encoding of Op1 from 4 on, which are
//! EL2's, EL3's and those of secure states (Arm ARM, C5.1.2); exception returns to there.

use plinth_test_guests_armv8::trap::class;
use plinth_test_guests_armv8::{Report, check, say, scratch, trap};

/// Encodings of CRm and Op2 together.
const LAST_FIELDS: u32 = 128;
/// PSTATE: all masked.
const MASKED: u64 = 0x3C0;

pub(crate) fn run(report: &mut Report) {
    let mut wrong = 0;
    // L, Op0, Op1, CRn.
    for group in (0..2 << 2 << 3 << 4).filter(|group| group >> 4 & 7 >= 4) {
        let first = group * LAST_FIELDS;
        let instructions = (first..first + LAST_FIELDS).map(|rest| scratch::system_instruction(rest, 1));
        // SAFETY: each is undefined; if one is not, that is what is to be found out.
        let found = unsafe { scratch::run(instructions, [0; 4]) };
        if found != [u64::from(LAST_FIELDS); 2] {
            say!("walk: of the encodings from {first:#x} on {found:?} raise an exception and are undefined");
            wrong += 1;
        }
    }
    check!(report, "el2-is-undefined", wrong, 0);
    // All modes but EL0, EL1 with either stack, and EL0 of AArch32.
    let illegal = (0..32).filter(|mode| !matches!(mode, 0 | 4 | 5 | 0x10));
    for mode in illegal {
        let found = trap::return_to(MASKED | mode).map(trap::Trap::class);
        check!(report, "illegal-return", (mode, found), (mode, Some(class::ILLEGAL_STATE)));
    }
}
