//! From the entry of a guest to its exit, and the exits that the kernel answers without further ado: a declared CPUID
//! answer costs no more than looking it up. All else is left to [`crate::rare_exits`] or to the caller.

use plinth_arch_x86::cpuid;
use plinth_arch_x86::exit_registers::{CpuidQuery, ExitPage, ExitRegisters, answer_cpuid};
use plinth_arch_x86::nmi::{self, NmiNote};
use plinth_hal::{Exit, ExitClass, GuestMemory, IdPolicy, VsHw};

use crate::cpu::VmxCpu;
use crate::exit::{self, reason};
use crate::rare_exits;
use crate::switch::{self, Outcome};
use crate::vmcs::failure;
use crate::vmcs::field::INSTRUCTION_ERROR;
use crate::vs::VmxVs;

impl VmxCpu {
    /// Runs the guest until it exits. Returns the reason, or what happened instead.
    #[inline]
    pub(crate) fn switch(&mut self, vs: &mut VmxVs, exit_page: ExitPage) -> Result<u32, Exit> {
        self.load_guest(vs);
        let launched = vs.prepare_entry(&self.host, exit_page.registers_once());
        // SAFETY: the VMCS is current and complete, and the guest's lazily switched registers have just been loaded.
        let outcome = unsafe {
            let registers = exit_page.world_switch_words().as_ptr() as u64;
            switch::run(registers, self.entry.with(launched), &mut vs.host_rsp, self.core.note().flag())
        };
        match outcome {
            Outcome::Exit => Ok(vs.after_exit(exit_page.writer())),
            Outcome::Interrupted => {
                if !launched {
                    vs.not_entered();
                }
                Err(NmiNote::kick(self.core.note().take()))
            }
            Outcome::Failed => {
                let exit = instruction_failed(vs);
                vs.put_to_rest();
                Err(exit)
            }
        }
    }

    /// Serves exits that neither the rest of the kernel nor the extension needs to see. Returns the exit otherwise.
    #[inline]
    pub(crate) fn try_handle(
        &mut self,
        vs: &mut VmxVs,
        exit_reason: u32,
        registers: ExitRegisters,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Option<Exit> {
        match exit_reason {
            reason::CPUID => {
                if !answer(vs, registers, policy, guest) {
                    return Some(Exit::of(ExitClass::IdRead));
                }
                *declared = declared.wrapping_add(1);
                None
            }
            reason::EXCEPTION_OR_NMI => {
                const NMI_VECTOR: u32 = 2;
                if exit::event_vector(vs) != NMI_VECTOR {
                    return rare_exits::exception(vs, exit_reason);
                }
                nmi::unblock();
                Some(Exit::of(ExitClass::Kick))
            }
            _ => self.handle_rare(vs, exit_reason, registers, guest),
        }
    }
}

/// Serves CPUID from a declared answer. Returns false, and changes nothing, where none is declared.
#[inline]
fn answer(vs: &mut VmxVs, registers: ExitRegisters, policy: &IdPolicy, guest: &impl GuestMemory) -> bool {
    let writer = registers.writer();
    let CpuidQuery { leaf, subleaf } = CpuidQuery::take(registers);
    let Some(words) = cpuid::declared(policy, leaf, subleaf) else { return false };
    if vs.advance(guest).is_err() {
        return false;
    }
    answer_cpuid(writer, words);
    true
}

#[cold]
fn instruction_failed(vs: &VmxVs) -> Exit {
    let number = vs.with(|vmcs| vmcs.read(INSTRUCTION_ERROR));
    log::error!("VM entry failed with error {number}: {}", failure::instruction_error(number));
    Exit { class: ExitClass::EntryRefused, number: u64::from(number), detail: 1 }
}
