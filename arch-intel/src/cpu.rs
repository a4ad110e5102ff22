//! A processor with VMX, while the kernel runs on it.

mod interface;
mod seldom;

use plinth_arch_x86::apic::LocalApic;
use plinth_arch_x86::exit_registers::{ExitPage, ExitRegisters};
use plinth_arch_x86::interrupts::Interrupts;
use plinth_arch_x86::msr;
use plinth_arch_x86::nmi::{self, NmiNote};
use plinth_arch_x86::per_cpu::PerCpu;
use plinth_arch_x86::sleep;
use plinth_arch_x86::speculation::Processor;
use plinth_arch_x86::user::UserRegisters;
use plinth_hal::{Exit, ExitClass, GuestMemory, IdPolicy, UserExit};

use crate::exits::{self, reason};
use crate::failure;
use crate::field::INSTRUCTION_ERROR;
use crate::hidden::Hidden;
use crate::setup::HostState;
use crate::switch::{self, Entry, Outcome};
use crate::vs::VmxVs;

/// The processor.
#[derive(Debug)]
pub struct VmxCpu {
    per_cpu: *mut PerCpu,
    host: HostState,
    host_hidden: Hidden,
    note: &'static NmiNote,
    /// Where the registers go that the processor holds for a guest; `None`: it holds the kernel's own.
    hidden_of: Option<*mut Hidden>,
    /// What CSTAR holds: always a guest's, the kernel and the extension have no use for it.
    cstar: u64,
    /// How guests are entered, but for whether it is the first time.
    entry: Entry,
    apic: LocalApic,
    id: u32,
    interrupts: Interrupts,
}

impl VmxCpu {
    /// The processor that the caller runs on.
    ///
    /// # Safety
    /// The kernel's address space, descriptor tables and system-call MSRs are loaded, as `host` and `per_cpu` say, and
    /// the processor is in VMX root operation. `note` is what its NMI handler writes.
    pub(crate) unsafe fn new(per_cpu: *mut PerCpu, host: HostState, note: &'static NmiNote) -> Self {
        let apic = LocalApic::current();
        let host_hidden = Hidden::read();
        let (cstar, id) = (host_hidden.cstar, apic.announce());
        let entry = Entry::new(&Processor::current());
        let interrupts = Interrupts::default();
        Self { per_cpu, host, host_hidden, note, hidden_of: None, cstar, entry, apic, id, interrupts }
    }

    /// Puts the guest's hidden registers away and the kernel's in their place.
    #[inline]
    fn load_host(&mut self) {
        if let Some(place) = self.hidden_of.take() {
            // SAFETY: the place is the VS's that they were loaded from; a VS is destroyed only after a turn of the
            // extension, which begins here. A VM exit leaves the GDT without a limit: the extension must not see
            // beyond its end.
            unsafe {
                (*place).take_changed();
                self.host_hidden.load_system_calls();
                PerCpu::load_gdt(self.per_cpu);
            }
        }
    }

    plinth_arch_x86::interrupt_methods!();

    /// Takes the interrupts that are pending. NMIs come in anyway.
    fn accept_interrupts() {
        // SAFETY: the kernel's IDT and TSS are loaded, with a stub for every interrupt, and interrupts are off.
        unsafe { sleep::accept_interrupts() };
    }

    #[inline]
    fn load_guest(&mut self, vs: &mut VmxVs) {
        let place = vs.hidden();
        if self.hidden_of == Some(place) {
            return;
        }
        self.load_host();
        // SAFETY: a VS's page holds them from its creation on, and `enter_user` calls `load_host` first. The VS that ran
        // before has been put to rest, and with it its extended state.
        let cstar = unsafe {
            (*place).load();
            vs.extended.load();
            (*place).cstar
        };
        if cstar != self.cstar {
            self.load_cstar(cstar);
        }
        self.hidden_of = Some(place);
    }

    #[cold]
    fn load_cstar(&mut self, cstar: u64) {
        // SAFETY: the value was in the register before, or checked when it was set; only guests use it.
        unsafe { msr::write(msr::index::CSTAR, cstar) };
        self.cstar = cstar;
    }

    /// Runs the guest until it exits. Returns the reason, or what happened instead.
    #[inline]
    fn switch(&mut self, vs: &mut VmxVs, exit_page: ExitPage) -> Result<u32, Exit> {
        self.load_guest(vs);
        let launched = vs.prepare_entry(&self.host, exit_page.registers_once());
        // SAFETY: the VMCS is current and complete, and the guest's hidden registers have just been loaded.
        let outcome = unsafe {
            let registers = exit_page.world_switch_words().as_ptr() as u64;
            switch::run(registers, self.entry.with(launched), &mut vs.host_rsp, self.note.flag())
        };
        match outcome {
            Outcome::Exit => Ok(vs.after_exit(exit_page.writer())),
            Outcome::Interrupted => {
                if !launched {
                    vs.not_entered();
                }
                Err(NmiNote::kick(self.note.take()))
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
    fn serve(
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
                if !interface::answer(vs, registers, policy, guest) {
                    return Some(Exit::of(ExitClass::IdRead));
                }
                *declared = declared.wrapping_add(1);
                None
            }
            reason::EXCEPTION_OR_NMI => {
                const NMI_VECTOR: u32 = 2;
                if exits::event_vector(vs) != NMI_VECTOR {
                    return seldom::exception(vs, exit_reason);
                }
                nmi::unblock();
                Some(Exit::of(ExitClass::Kick))
            }
            _ => self.serve_seldom(vs, exit_reason, registers, guest),
        }
    }
}

#[cold]
fn instruction_failed(vs: &VmxVs) -> Exit {
    let number = vs.with(|vmcs| vmcs.read(INSTRUCTION_ERROR));
    log::error!("VM entry failed with error {number}: {}", failure::instruction_error(number));
    Exit { class: ExitClass::EntryRefused, number: u64::from(number), detail: 1 }
}
