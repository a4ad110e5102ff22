//! Exits that the kernel serves and that a guest at work causes seldom.

use plinth_arch_x86::broken_entry::{self, Answer};
use plinth_arch_x86::msr;
use plinth_arch_x86::stopped_guest::{StoppedGuest, edx_eax, read_general};
use plinth_hal::{Exit, ExitClass, GuestMemory, PhysicalMemory, Spa, VsHw};

use super::VmxCpu;
use crate::bitmaps::wishes_for;
use crate::exits::{self, reason};
use crate::field::{ACTIVITY, PHYSICAL_ADDRESS, QUALIFICATION};
use crate::processor::GENERAL_PROTECTION;
use crate::vs::{VmxVs, timer};
use crate::{control_registers, events, failure, memory_types};

impl VmxCpu {
    #[cold]
    #[inline(never)]
    pub(super) fn serve_seldom(
        &mut self,
        vs: &mut VmxVs,
        exit_reason: u32,
        exit_page: Spa,
        guest: &impl GuestMemory,
    ) -> Option<Exit> {
        match exit_reason {
            reason::NMI_WINDOW => vs.nmi_window_opened(),
            reason::INTERRUPT_WINDOW => vs.interrupt_window_opened(),
            reason::INIT => wait_for_startup(vs, exit_page),
            reason::SIPI => {
                let page = vs.with(|vmcs| vmcs.read(QUALIFICATION)) & 0xff;
                vs.start(page);
            }
            reason::CR_ACCESS if !vs.with(control_registers::is_task_priority) => {
                control_register_access(vs, guest, exit_page);
            }
            reason::WRMSR if self.write_system_call_register(vs, guest, exit_page) => {}
            reason::WRMSR if memory_types::are_written(vs, exit_page) => {
                return memory_types::write(vs, guest, exit_page);
            }
            reason::XSETBV => Self::write_xcr(vs, guest, exit_page),
            reason::TIMER => return timer::exit(vs),
            reason::EPT_MISCONFIGURATION => return broken_entry(vs),
            #[cfg(feature = "fault-injection")]
            reason::VMCALL if crate::fault_injection::serve(vs, exit_page) => skip(vs, guest, exit_page),
            reason::INVD => {
                // Caches are written back, never just dropped: the kernel's own data is in them.
                // SAFETY: WBINVD at privilege level 0 loses nothing.
                unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
                skip(vs, guest, exit_page);
            }
            _ => {
                if exit_reason & reason::ENTRY_FAILURE != 0 {
                    log::error!("VM entry refused: {}", failure::entry_reason(exits::basic(exit_reason)));
                    vs.with(|vmcs| failure::explain(vmcs, vs.features));
                    vs.put_to_rest();
                }
                return Some(exits::classify(vs, exit_reason, exit_page));
            }
        }
        None
    }

    /// XCR0 is the guest's, also while the kernel and the extension run: the processor itself checks number and value.
    fn write_xcr(vs: &mut VmxVs, guest: &impl GuestMemory, exit_page: Spa) {
        let memory = vs.memory();
        let (number, value) = (read_general(&memory, exit_page, 1) as u32, edx_eax(&memory, exit_page));
        let privileged = vs.privilege() == 0;
        // SAFETY: the exit shows that the processor has XSETBV, so the kernel's CR4 has OSXSAVE; nobody but guests uses
        // the state components.
        if !privileged || unsafe { msr::write_xcr_guarded(number, value) }.is_err() {
            vs.inject(GENERAL_PROTECTION);
            return;
        }
        skip(vs, guest, exit_page);
    }

    /// Carries out WRMSR of a system-call register, unless the extension wants to see it. Returns whether it was one.
    fn write_system_call_register(
        &mut self,
        vs: &mut VmxVs,
        guest: &impl GuestMemory,
        exit_page: Spa,
    ) -> bool {
        let memory = vs.memory();
        let number = read_general(&memory, exit_page, 1) as u32;
        // SAFETY: the place is the VS's, which is borrowed here and not touched through it meanwhile.
        let hidden = unsafe { &mut *vs.hidden() };
        let Some(register) = hidden.system_call_register(number) else { return false };
        if wishes_for(memory.read_u64(vs.wishes()), number) {
            return false;
        }
        let value = edx_eax(&memory, exit_page);
        // SAFETY: the processor holds the guest's value now, and gets the kernel's back before it enters the extension.
        if unsafe { msr::write_guarded(number, value) }.is_err() {
            vs.inject(GENERAL_PROTECTION);
            return true;
        }
        *register = value;
        if number == msr::index::CSTAR {
            self.cstar = value;
        }
        skip(vs, guest, exit_page);
        true
    }
}

/// Skips an instruction that the exit was caused by, so that its length is known.
fn skip(vs: &mut VmxVs, guest: &impl GuestMemory, exit_page: Spa) {
    let _ = vs.advance(guest, exit_page);
}

/// An INIT signal that no interrupt command of the guest's sent: it waits for a startup IPI, as the bare processor.
fn wait_for_startup(vs: &mut VmxVs, exit_page: Spa) {
    vs.reset(exit_page);
    vs.with(|vmcs| vmcs.write(ACTIVITY, events::WAIT_FOR_SIPI));
}

/// The kernel's own tables are broken: see [`plinth_arch_x86::broken_entry`].
fn broken_entry(vs: &mut VmxVs) -> Option<Exit> {
    let (at, cr4, delivering) = vs.with(|vmcs| {
        (vmcs.read(PHYSICAL_ADDRESS), control_registers::read_cr4(vmcs), events::was_delivering(vmcs))
    });
    match broken_entry::answer(&vs.memory(), vs.nested_root(), at, cr4, delivering) {
        Answer::Raise(event) => vs.inject(event),
        Answer::ShutDown => return Some(Exit::of(ExitClass::Shutdown)),
    }
    None
}

fn control_register_access(vs: &mut VmxVs, guest: &impl GuestMemory, exit_page: Spa) {
    let memory = vs.memory();
    let features = vs.features;
    let done = vs.with(|vmcs| control_registers::move_to(vmcs, features, &memory, guest, exit_page));
    match done {
        Ok(value) => {
            if vs.is_root {
                control_registers::set_caching(value);
            }
            vs.flush_tlb();
            skip(vs, guest, exit_page);
        }
        Err(control_registers::Refused) => vs.inject(GENERAL_PROTECTION),
    }
}
