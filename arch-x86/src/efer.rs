//! EFER as a processor without its virtualization extension takes it (AMD APM vol. 2, 3.1.7).

use crate::cpuid::native;

const LME: u64 = 1 << 8;
const LMA: u64 = 1 << 10;
/// SVM is on.
pub const SVME: u64 = 1 << 12;

/// Bits of EFER and where CPUID says that the processor has them: bit, leaf, register (0 EAX … 3 EDX), feature bit (AMD APM
/// vol. 2, 3.1.7, and vol. 3, appendix E). SVME is not among them.
const FEATURES: [(u64, u32, usize, u32); 10] = [
    (1 << 0, 0x8000_0001, 3, 1 << 11),  // SCE: SYSCALL
    (LME, 0x8000_0001, 3, 1 << 29),     // LME: long mode
    (1 << 11, 0x8000_0001, 3, 1 << 20), // NXE: no-execute pages
    (1 << 13, 0x8000_000A, 3, 1 << 0), // LMSLE: segment limits in 64-bit mode; came with SVM, has no bit of its own
    (1 << 14, 0x8000_0001, 3, 1 << 25), // FFXSR: fast FXSAVE
    (1 << 15, 0x8000_0001, 2, 1 << 17), // TCE: translation cache extension
    (1 << 17, 0x8000_0008, 1, 1 << 8), // MCOMMIT
    (1 << 18, 0x8000_0008, 1, 1 << 13), // INTWB: interruptible WBINVD
    (1 << 20, 0x8000_0021, 0, 1 << 7), // UAIE: upper addresses ignored
    (1 << 21, 0x8000_0021, 0, 1 << 8), // AIBRSE: automatic IBRS
];
/// CPUID 8000_0008 EBX: there is no LMSLE, whatever else is there.
const NO_LMSLE: u32 = 1 << 20;
const LMSLE: u64 = 1 << 13;

/// What EFER becomes when the guest writes `value`; `None` where the processor raises #GP: a bit that it lacks, or a change of
/// LME under paging. LMA is the processor's own.
pub fn written(old: u64, value: u64, paging: bool) -> Option<u64> {
    changed(old, value, settable(|leaf| native(leaf, 0)), paging)
}

fn changed(old: u64, value: u64, settable: u64, paging: bool) -> Option<u64> {
    let lme_changes = (old ^ value) & LME != 0;
    let refused = value & !(settable | LMA) != 0 || (paging && lme_changes);
    (!refused).then_some(value & !LMA | old & LMA)
}

/// The bits that the guest may set.
fn settable(cpuid: impl Fn(u32) -> [u32; 4]) -> u64 {
    let [last, ..] = cpuid(0x8000_0000);
    let has = |leaf: u32, register: usize, bit| leaf <= last && cpuid(leaf)[register] & bit != 0;
    let features = FEATURES.iter().filter(|&&(_, leaf, register, feature)| has(leaf, register, feature));
    let bits = features.fold(0, |bits, (bit, ..)| bits | bit);
    if has(0x8000_0008, 1, NO_LMSLE) { bits & !LMSLE } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bits_that_the_processor_has_can_be_set() {
        let bits = settable(|leaf| match leaf {
            0x8000_0000 => [0x8000_0008, 0, 0, 0],
            0x8000_0001 => [0, 0, 1 << 2, 1 << 11 | 1 << 20 | 1 << 29],
            0x8000_0021 => [u32::MAX; 4],
            _ => [0; 4],
        });
        assert_eq!(bits, 0x901);
        assert_eq!(changed(0xd00, 0xd01, bits, true), Some(0xd01));
        for refused in [1 << 14, SVME, 1 << 21, 1 << 63] {
            assert_eq!(changed(0, refused, bits, false), None, "{refused:#x}");
        }
    }

    #[test]
    fn automatic_ibrs_is_the_root_vms_where_the_processor_has_it() {
        let bits = settable(|leaf| match leaf {
            0x8000_0000 => [0x8000_0021, 0, 0, 0],
            _ => [u32::MAX; 4],
        });
        assert_eq!(bits & (1 << 21 | SVME | LMSLE), 1 << 21);
        assert_eq!(changed(0xd01, 0xd01 | 1 << 21, bits, true), Some(0xd01 | 1 << 21));
    }

    #[test]
    fn long_mode_is_the_processors_to_activate() {
        assert_eq!(changed(LME | LMA, 0, 0x901, true), None, "LME stays under paging");
        assert_eq!(changed(LME | LMA, LME, 0x901, true), Some(LME | LMA), "LMA cannot be cleared");
        assert_eq!(changed(LME, LME | LMA, 0x901, false), Some(LME), "LMA cannot be set");
        assert_eq!(changed(0, LME, 0x901, false), Some(LME));
    }
}
