//! Instructions answered as the bare machine would, without VMX: what the kernel does for the root VM once
//! the extension is gone.

use plinth_arch_x86::acpi_sleep::PortAccess;
use plinth_arch_x86::cpuid;
use plinth_arch_x86::exit_registers::{CpuidQuery, ExitRegisters, answer_cpuid};
use plinth_arch_x86::port_table;
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, Spa, VsHw};

use crate::stopped_guest::GENERAL_PROTECTION;
use crate::vmcs::field::IO_BITMAP_A;
use crate::vs::VmxVs;
use crate::{control_registers, vm};

/// Answers an exit. Returns false for one that it does not know.
pub(crate) fn as_bare_machine(
    vs: &mut VmxVs,
    exit: &Exit,
    guest: &impl GuestMemory,
    registers: ExitRegisters,
) -> bool {
    match exit.class {
        ExitClass::IdRead => {
            bare_cpuid(vs, registers);
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
            let (memory, bitmap) = (vs.memory(), vs.with(|vmcs| vmcs.read(IO_BITMAP_A)));
            port_table::without_extension(exit)
                .for_each(|(port, exits)| vm::set_port(&memory, Spa::new(bitmap), port, exits));
            true
        }
        ExitClass::Virtualization => {
            vs.inject(Event::Undefined);
            true
        }
        _ => false,
    }
}

fn bare_cpuid(vs: &VmxVs, registers: ExitRegisters) {
    let writer = registers.writer();
    let CpuidQuery { leaf, subleaf } = CpuidQuery::take(registers);
    let cr4 = vs.with(control_registers::read_cr4);
    answer_cpuid(writer, cpuid::without_virtualization(leaf, subleaf, cr4));
}
