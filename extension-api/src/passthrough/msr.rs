//! Model-specific registers that exit: EFER, which shows no SVM, and those that are not there.
//!
//! Registers of the virtualization extension (VM_CR, VM_HSAVE_PA) and unknown ones raise #GP, as on a machine
//! that lacks them.

use crate::abi::register;
use crate::event::Event;
use crate::exit::Exit;
use crate::resume::Resume;

use super::cpuid;

/// MSR number of EFER (AMD64 APM vol. 2, 3.1.7).
const EFER: u64 = 0xC000_0080;
/// EFER.LME, EFER.LMA and EFER.SVME.
const LME: u64 = 1 << 8;
const LMA: u64 = 1 << 10;
const SVME: u64 = 1 << 12;
/// CR0.PG.
const PAGING: u64 = 1 << 31;

/// Answers RDMSR.
pub fn read(exit: &mut Exit<'_>) -> Resume {
    let value = match exit.number() {
        EFER => exit.plinth().vs_read(exit.vs(), register::X86_EFER).ok(),
        _ => None,
    };
    match value {
        Some(value) => {
            exit.set_edx_eax(value & !SVME);
            Resume::AdvanceAndRun
        }
        None => Resume::Inject(Event::GENERAL_PROTECTION),
    }
}

/// Answers WRMSR.
pub fn write(exit: &mut Exit<'_>) -> Resume {
    let written = exit.number() == EFER && write_efer(exit, exit.edx_eax()).is_some();
    if written { Resume::AdvanceAndRun } else { Resume::Inject(Event::GENERAL_PROTECTION) }
}

/// `None` where the processor would refuse it.
fn write_efer(exit: &Exit<'_>, value: u64) -> Option<()> {
    let (plinth, vs) = (exit.plinth(), exit.vs());
    let old = plinth.vs_read(vs, register::X86_EFER).ok()?;
    let paging = plinth.vs_read(vs, register::X86_CR0).ok()? & PAGING != 0;
    let new = new_efer(old, value, efer_bits(), paging)?;
    plinth.vs_write(vs, register::X86_EFER, new).ok()
}

/// What EFER becomes when `value` is written: LMA is the processor's own; a bit that it lacks or a change of
/// LME under paging raises #GP.
fn new_efer(old: u64, value: u64, bits: u64, paging: bool) -> Option<u64> {
    let lme_changes = (old ^ value) & LME != 0;
    let refused = value & !(bits | LMA) != 0 || (paging && lme_changes);
    (!refused).then_some(value & !LMA | old & LMA)
}

/// Bits of EFER and where CPUID says that the processor has them: bit, leaf, register (0 EAX … 3 EDX), feature bit
/// (AMD64 APM vol. 2, 3.1.7 and vol. 3, appendix E).
const FEATURES: [(u64, u32, usize, u32); 8] = [
    (1 << 0, 0x8000_0001, 3, 1 << 11),  // SCE: SYSCALL
    (LME, 0x8000_0001, 3, 1 << 29),     // LME: long mode
    (1 << 11, 0x8000_0001, 3, 1 << 20), // NXE: no-execute pages
    (1 << 14, 0x8000_0001, 3, 1 << 25), // FFXSR: fast FXSAVE
    (1 << 15, 0x8000_0001, 2, 1 << 17), // TCE: translation cache extension
    (1 << 17, 0x8000_0008, 1, 1 << 8),  // MCOMMIT
    (1 << 18, 0x8000_0008, 1, 1 << 13), // INTWB: interruptible WBINVD
    (1 << 21, 0x8000_0021, 0, 1 << 8),  // AIBRSE: automatic IBRS
];

/// The bits of EFER that the guest may set. SVME is not among them.
fn efer_bits() -> u64 {
    efer_bits_of(|leaf| cpuid::native(leaf, 0))
}

fn efer_bits_of(cpuid: impl Fn(u32) -> cpuid::Words) -> u64 {
    let [last, ..] = cpuid(0x8000_0000);
    let has = |&&(_, leaf, register, feature): &&(u64, u32, usize, u32)| {
        leaf <= last && cpuid(leaf)[register] & feature != 0
    };
    FEATURES.iter().filter(has).fold(0, |bits, (bit, ..)| bits | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bits_that_the_processor_has_can_be_set() {
        let bits = efer_bits_of(|leaf| match leaf {
            0x8000_0000 => [0x8000_0008, 0, 0, 0],
            0x8000_0001 => [0, 0, 1 << 2, 1 << 11 | 1 << 20 | 1 << 29],
            0x8000_0021 => [u32::MAX; 4],
            _ => [0; 4],
        });
        assert_eq!(bits, 0x901);
        assert_eq!(new_efer(0xd00, 0xd01, bits, true), Some(0xd01));
        assert_eq!(new_efer(0, 1 << 14, bits, false), None);
        assert_eq!(new_efer(0, SVME, bits, false), None);
        assert_eq!(new_efer(0, 1 << 63, bits, false), None);
    }

    #[test]
    fn long_mode_is_the_processors_to_activate() {
        assert_eq!(new_efer(LME | LMA, 0, 0x901, true), None, "LME stays under paging");
        assert_eq!(new_efer(LME | LMA, LME, 0x901, true), Some(LME | LMA), "LMA cannot be cleared");
        assert_eq!(new_efer(LME, LME | LMA, 0x901, false), Some(LME), "LMA cannot be set");
        assert_eq!(new_efer(0, LME, 0x901, false), Some(LME));
    }
}
