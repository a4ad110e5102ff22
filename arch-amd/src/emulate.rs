//! Instructions answered as the bare machine would, without SVM: what the kernel does for the root VM once
//! the extension is gone.

use plinth_arch_x86::acpi_sleep::PortAccess;
use plinth_arch_x86::cpuid::without_virtualization;
use plinth_arch_x86::exit_registers::{CpuidQuery, ExitRegisters, answer_cpuid};
use plinth_arch_x86::port_table;
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, Spa, VsHw};

use crate::msr_exits::GENERAL_PROTECTION;
use crate::vm;
use crate::vs::SvmVs;

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
        // It exits because the extension asked to see it: now the guest gets what the table says.
        ExitClass::RegisterRead | ExitClass::RegisterWrite => {
            if !vs.maps.forget(exit.number) {
                vs.inject(GENERAL_PROTECTION);
            }
            true
        }
        ExitClass::PortRead | ExitClass::PortWrite if vs.is_root && !PortAccess::of(exit).wraps() => {
            let (memory, iopm) = (vs.memory(), Spa::new(vs.view().control.iopm_base));
            port_table::without_extension(exit)
                .for_each(|(port, exits)| vm::set_port(&memory, iopm, port, exits));
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

/// Writes all caches back and empties them.
pub(crate) fn write_back_caches() {
    // SAFETY: WBINVD at privilege level 0 loses nothing.
    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
}
