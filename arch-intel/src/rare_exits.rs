//! Exits that the kernel handles off the hot path: a guest at work rarely causes them.

use plinth_arch_x86::acpi_sleep;
use plinth_arch_x86::exit_registers::{ExitRegisters, NumberedWrite};
use plinth_arch_x86::msr;
use plinth_arch_x86::nested_misconfig::{self, Answer};
use plinth_arch_x86::stopped_guest::StoppedGuest;
use plinth_hal::{Exit, ExitClass, GuestMemory, VsHw};

use crate::cpu::VmxCpu;
use crate::exit::{self, reason};
use crate::reflect::DEBUG;
use crate::stopped_guest::GENERAL_PROTECTION;
use crate::vmcs::failure;
use crate::vmcs::field::PHYSICAL_ADDRESS;
use crate::vs::VmxVs;
use crate::{control_registers, deadline, events, task_switch};

impl VmxCpu {
    #[cold]
    #[inline(never)]
    pub(crate) fn handle_rare(
        &mut self,
        vs: &mut VmxVs,
        exit_reason: u32,
        registers: ExitRegisters,
        guest: &impl GuestMemory,
    ) -> Option<Exit> {
        match exit_reason {
            reason::NMI_WINDOW => vs.nmi_window_opened(),
            reason::INTERRUPT_WINDOW => vs.interrupt_window_opened(),
            reason::CR_ACCESS if !vs.with(control_registers::is_task_priority) => {
                control_register_access(vs, guest, registers);
            }
            reason::WRMSR => return self.write_msr(vs, NumberedWrite::take(registers), guest),
            reason::RDMSR => return Self::read_msr(vs, registers, guest),
            reason::XSETBV => Self::write_xcr(vs, guest, NumberedWrite::take(registers)),
            reason::TIMER => return deadline::exit(vs),
            reason::TASK_SWITCH => return task_switch::exit(vs),
            reason::IO => return port(vs, guest, registers),
            reason::EPT_MISCONFIGURATION => return broken_entry(vs),
            #[cfg(feature = "fault-injection")]
            reason::VMCALL => {
                if !crate::fault_injection::serve(vs, registers) {
                    return Some(exit::classify(vs, exit_reason));
                }
                skip(vs, guest);
            }
            reason::INVD => {
                // Caches are written back, never just dropped: the kernel's own data is in them.
                // SAFETY: WBINVD at privilege level 0 loses nothing.
                unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
                skip(vs, guest);
            }
            _ => {
                if exit_reason & reason::ENTRY_FAILURE != 0 {
                    log::error!("VM entry refused: {}", failure::entry_reason(exit::basic(exit_reason)));
                    vs.with(|vmcs| failure::explain(vmcs, vs.features));
                    vs.put_to_rest();
                }
                return Some(exit::classify(vs, exit_reason));
            }
        }
        None
    }

    /// XCR0 is the guest's, also while the kernel and the extension run: the processor itself checks number and value.
    fn write_xcr(vs: &mut VmxVs, guest: &impl GuestMemory, NumberedWrite { register, value }: NumberedWrite) {
        let privileged = vs.privilege() == 0;
        // SAFETY: the exit shows that the processor has XSETBV, so the kernel's CR4 has OSXSAVE; nobody but guests uses
        // the state components.
        if !privileged || unsafe { msr::write_xcr_guarded(register, value) }.is_err() {
            vs.inject(GENERAL_PROTECTION);
            return;
        }
        skip(vs, guest);
    }

    /// Writes a register of system calls that the kernel keeps a copy of. Returns false where the processor refuses the value.
    pub(crate) fn write_system_call_register(
        &mut self,
        vs: &mut VmxVs,
        NumberedWrite { register: number, value }: NumberedWrite,
    ) -> bool {
        // SAFETY: the place is the VS's, which is borrowed here and not touched through it meanwhile.
        let lazy = unsafe { &mut *vs.lazy_state() };
        let Some(register) = lazy.system_call_register(number) else { return false };
        // SAFETY: the processor holds the guest's value now, and gets the kernel's back before it enters the extension.
        if unsafe { msr::write_guarded(number, value) }.is_err() {
            return false;
        }
        *register = value;
        if number == msr::index::CSTAR {
            self.cstar = value;
        }
        true
    }
}

/// An exception: the kernel's single step, or one that the guest gets. Between two of these the timer and, for a guest VM,
/// interrupts have their turn.
#[cold]
pub(crate) fn exception(vs: &mut VmxVs, exit_reason: u32) -> Option<Exit> {
    if vs.is_stepping() && exit::event_vector(vs) == DEBUG {
        vs.sort_debug_exception();
        return Some(exit::classify(vs, exit_reason));
    }
    let ends_turn = vs.reflect();
    deadline::exit(vs).or(ends_turn.then_some(Exit::of(ExitClass::Interrupt)))
}

/// An access to a port: the extension's to decide, but for the root VM's to what puts the machine to sleep.
fn port(vs: &mut VmxVs, guest: &impl GuestMemory, registers: ExitRegisters) -> Option<Exit> {
    let access = exit::port_access(vs);
    let concerns = vs.is_root && acpi_sleep::may_concern(access.port);
    let served = concerns && acpi_sleep::serve(vs, &access, guest, registers);
    (!served).then(|| access.exit())
}

/// Skips an instruction that the exit was caused by, so that its length is known.
fn skip(vs: &mut VmxVs, guest: &impl GuestMemory) {
    let _ = vs.advance(guest);
}

/// The kernel's own tables are broken: see [`plinth_arch_x86::nested_misconfig`].
fn broken_entry(vs: &mut VmxVs) -> Option<Exit> {
    let (at, cr4, delivering) = vs.with(|vmcs| {
        (vmcs.read(PHYSICAL_ADDRESS), control_registers::read_cr4(vmcs), events::was_delivering(vmcs))
    });
    match nested_misconfig::answer::<4>(&vs.memory(), vs.nested_root(), at, cr4, delivering) {
        Answer::Raise(event) => vs.inject(event),
        Answer::ShutDown => return Some(Exit::of(ExitClass::Shutdown)),
    }
    None
}

fn control_register_access(vs: &mut VmxVs, guest: &impl GuestMemory, registers: ExitRegisters) {
    let features = vs.features;
    let done = vs.with(|vmcs| control_registers::move_to(vmcs, features, guest, registers));
    match done {
        Ok(value) => {
            if vs.is_root {
                control_registers::set_caching(value);
            }
            vs.flush_tlb();
            skip(vs, guest);
        }
        Err(control_registers::Refused) => vs.inject(GENERAL_PROTECTION),
    }
}
