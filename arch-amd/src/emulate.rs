//! Instructions answered as the bare machine would, without SVM: what the kernel does for the root VM once
//! the extension is gone.

use plinth_arch_x86::cpuid::without_virtualization;
use plinth_arch_x86::exit_registers::{CpuidQuery, ExitRegisters, answer_cpuid, answer_rdmsr, msr_value};
use plinth_arch_x86::msr;
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, VsHw};

use crate::vmcb::EFER_SVME;
use crate::vs::SvmVs;

const GENERAL_PROTECTION: Event = Event::Exception { vector: 13, error_code: Some(0) };

/// Answers an exit. Returns false for one that it does not know.
pub(crate) fn as_bare_machine(
    vs: &mut SvmVs,
    exit: &Exit,
    guest: &impl GuestMemory,
    registers: ExitRegisters,
) -> bool {
    match exit.class {
        ExitClass::IdRead => {
            cpuid(vs, registers);
            vs.advance(guest).is_ok()
        }
        ExitClass::RegisterRead if exit.number == u64::from(msr::index::EFER) => {
            let efer = vs.view().save.efer & !EFER_SVME;
            answer_rdmsr(registers.writer(), efer);
            vs.advance(guest).is_ok()
        }
        ExitClass::RegisterWrite if exit.number == u64::from(msr::index::EFER) => {
            write_efer(vs, guest, msr_value(registers))
        }
        ExitClass::RegisterRead | ExitClass::RegisterWrite => {
            vs.inject(GENERAL_PROTECTION);
            true
        }
        ExitClass::Virtualization => {
            vs.inject(Event::Undefined);
            true
        }
        _ => false,
    }
}

fn cpuid(vs: &SvmVs, registers: ExitRegisters) {
    let writer = registers.writer();
    let CpuidQuery { leaf, subleaf } = CpuidQuery::take(registers);
    answer_cpuid(writer, without_virtualization(leaf, subleaf, vs.view().save.cr4));
}

/// EFER as a processor without SVM takes it (AMD APM vol. 2, 3.1.7): LME cannot change while paging is on.
fn write_efer(vs: &mut SvmVs, guest: &impl GuestMemory, value: u64) -> bool {
    const KNOWN: u64 = 0x1 | 1 << 8 | 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14 | 1 << 15;
    const LME: u64 = 1 << 8;
    const LMA: u64 = 1 << 10;
    const CR0_PG: u64 = 1 << 31;
    let save = &vs.view().save;
    let flips_long_mode = (value ^ save.efer) & LME != 0 && save.cr0 & CR0_PG != 0;
    if value & !KNOWN != 0 || flips_long_mode {
        vs.inject(GENERAL_PROTECTION);
        return true;
    }
    let kept = save.efer & LMA | EFER_SVME;
    vs.vmcb().save.efer = value & !LMA | kept;
    vs.changed(crate::vmcb::clean::CONTROL_REGISTERS);
    vs.advance(guest).is_ok()
}

/// Writes all caches back and empties them.
pub(crate) fn write_back_caches() {
    // SAFETY: WBINVD at privilege level 0 loses nothing.
    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
}
