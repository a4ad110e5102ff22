//! A processor with VMX, while the kernel runs on it.

use plinth_arch_x86::apic::LocalApic;
use plinth_arch_x86::per_cpu::PerCpu;
use plinth_arch_x86::stopped_guest::{StoppedGuest, can_take_over, edx_eax, read_general, write_general};
use plinth_arch_x86::user::{self, UserRegisters};
use plinth_arch_x86::{cpuid, msr, reset};
use plinth_hal::{
    Event, Exit, ExitClass, GuestMemory, HostCpu, HostFault, IdPolicy, ProcessorEvent, Spa, UserExit, VsHw,
};

use crate::exits::{self, reason};
use crate::field::{ACTIVITY, INSTRUCTION_ERROR, QUALIFICATION};
use crate::hidden::Hidden;
use crate::nmi::{self, NmiNote};
use crate::processor::GENERAL_PROTECTION;
use crate::setup::HostState;
use crate::switch::{self, Outcome};
use crate::vs::VmxVs;
use crate::{Vmx, control_registers, events, failure};

/// MSRs that the extension may read: they tell about the machine, and nothing about the kernel.
const READABLE: [u32; 4] = [
    0x10,  // TSC
    0xFE,  // MTRR capabilities
    0x277, // PAT
    0x2FF, // MTRR default type
];

/// The processor.
#[derive(Debug)]
pub struct VmxCpu {
    per_cpu: *mut PerCpu,
    host: HostState,
    host_hidden: Hidden,
    note: &'static NmiNote,
    /// Where the registers go that the processor holds for a guest; `None`: it holds the kernel's own.
    hidden_of: Option<*mut Hidden>,
    apic: LocalApic,
    id: u32,
}

impl VmxCpu {
    /// The processor that the caller runs on.
    ///
    /// # Safety
    /// The kernel's address space, descriptor tables and system-call MSRs are loaded, as `host` and `per_cpu` say, and
    /// the processor is in VMX root operation. `note` is what its NMI handler writes.
    pub(crate) unsafe fn new(per_cpu: *mut PerCpu, host: HostState, note: &'static NmiNote) -> Self {
        let apic = LocalApic::current();
        Self { per_cpu, host, host_hidden: Hidden::read(), note, hidden_of: None, apic, id: apic.id() }
    }

    /// Puts the guest's hidden registers away and the kernel's in their place.
    #[inline]
    fn load_host(&mut self) {
        if let Some(place) = self.hidden_of.take() {
            // SAFETY: the place is the VS's that they were loaded from; a VS is destroyed only after a turn of the
            // extension, which begins here. A VM exit leaves the GDT without a limit: the extension must not see
            // beyond its end.
            unsafe {
                place.write(Hidden::read());
                self.host_hidden.load_system_calls();
                PerCpu::load_gdt(self.per_cpu);
            }
        }
    }

    #[inline]
    fn load_guest(&mut self, place: *mut Hidden) {
        if self.hidden_of == Some(place) {
            return;
        }
        self.load_host();
        // SAFETY: a VS's page holds them from its creation on, and `enter_user` calls `load_host` first.
        unsafe { (*place).load() };
        self.hidden_of = Some(place);
    }

    /// Runs the guest until it exits. Returns the reason, or what happened instead.
    #[inline]
    fn switch(&mut self, vs: &mut VmxVs, exit_page: Spa) -> Result<u32, Exit> {
        self.load_guest(vs.hidden());
        let launched = vs.prepare_entry(&self.host, exit_page);
        // SAFETY: the VMCS is current and complete, and the guest's hidden registers have just been loaded.
        let outcome = unsafe { switch::run(exit_page.raw(), launched, &mut vs.host_rsp, self.note.flag()) };
        match outcome {
            Outcome::Exit => Ok(vs.after_exit(exit_page)),
            Outcome::Interrupted => {
                if !launched {
                    vs.not_entered();
                }
                self.note.take();
                Err(Exit::of(ExitClass::Kick))
            }
            Outcome::Failed => {
                let exit = instruction_failed(vs);
                vs.entry_refused();
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
        exit_page: Spa,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Option<Exit> {
        match exit_reason {
            reason::CPUID => {
                if !answer(vs, exit_page, policy, guest) {
                    return Some(Exit::of(ExitClass::IdRead));
                }
                *declared += 1;
                None
            }
            reason::EXCEPTION_OR_NMI => {
                const NMI_VECTOR: u32 = 2;
                if exits::event_vector(vs) != NMI_VECTOR {
                    return Some(exits::classify(vs, exit_reason, exit_page));
                }
                nmi::unblock();
                Some(Exit::of(ExitClass::Kick))
            }
            _ => serve_seldom(vs, exit_reason, exit_page, guest),
        }
    }
}

#[cold]
#[inline(never)]
fn serve_seldom(vs: &mut VmxVs, exit_reason: u32, exit_page: Spa, guest: &impl GuestMemory) -> Option<Exit> {
    match exit_reason {
        reason::NMI_WINDOW => vs.nmi_window_opened(),
        reason::INIT => wait_for_startup(vs, exit_page),
        reason::SIPI => {
            let page = vs.with(|vmcs| vmcs.read(QUALIFICATION)) & 0xff;
            vs.start(page);
        }
        reason::CR_ACCESS => control_register_access(vs, guest, exit_page),
        reason::XSETBV => write_xcr(vs, guest, exit_page),
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
                vs.entry_refused();
            }
            return Some(exits::classify(vs, exit_reason, exit_page));
        }
    }
    None
}

fn instruction_failed(vs: &VmxVs) -> Exit {
    let number = vs.with(|vmcs| vmcs.read(INSTRUCTION_ERROR));
    log::error!("VM entry failed with error {number}: {}", failure::instruction_error(number));
    Exit { class: ExitClass::EntryRefused, number: u64::from(number), detail: 1 }
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

fn control_register_access(vs: &mut VmxVs, guest: &impl GuestMemory, exit_page: Spa) {
    let memory = vs.memory();
    let features = vs.features;
    let done = vs.with(|vmcs| control_registers::move_to(vmcs, features, &memory, guest, exit_page));
    match done {
        Ok(()) => {
            vs.flush_tlb();
            skip(vs, guest, exit_page);
        }
        Err(control_registers::Refused) => vs.inject(GENERAL_PROTECTION),
    }
}

/// XCR0 is the guest's, also while the kernel and the extension run: the processor itself checks number and value.
fn write_xcr(vs: &mut VmxVs, guest: &impl GuestMemory, exit_page: Spa) {
    let memory = vs.memory();
    let (number, value) = (read_general(&memory, exit_page, 1) as u32, edx_eax(&memory, exit_page));
    let privileged = vs.privilege() == 0;
    // SAFETY: the exit shows that the processor has XSETBV, so the kernel's CR4 has OSXSAVE; nobody but guests uses
    // the state components.
    let written = privileged && unsafe { msr::write_xcr_guarded(number, value) }.is_ok();
    if written { skip(vs, guest, exit_page) } else { vs.inject(GENERAL_PROTECTION) }
}

impl HostCpu for VmxCpu {
    type Arch = Vmx;

    fn hardware_id(&self) -> u32 {
        self.id
    }

    #[inline]
    fn enter_user(&mut self, context: &mut UserRegisters) -> UserExit {
        self.load_host();
        // SAFETY: `new` was told that everything is loaded; `load_host` has put the hidden part back.
        unsafe { user::run(self.per_cpu, context) }
    }

    #[inline]
    fn run(
        &mut self,
        vs: &mut VmxVs,
        exit_page: Spa,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit {
        loop {
            let exit_reason = match self.switch(vs, exit_page) {
                Ok(exit_reason) => exit_reason,
                Err(exit) => return exit,
            };
            if let Some(exit) = self.serve(vs, exit_reason, exit_page, policy, guest, declared) {
                return exit;
            }
        }
    }

    fn kick(&self, hardware_id: u32) {
        self.apic.send_nmi(hardware_id);
    }

    fn park(&mut self, wake: impl Fn() -> bool) -> bool {
        if !wake() {
            // SAFETY: the kernel's IDT is loaded and interrupts are off, as always in the kernel.
            unsafe { nmi::halt_until_nmi(self.note.flag()) };
        }
        self.note.take()
    }

    fn relax(&self) {
        core::hint::spin_loop();
    }

    fn read_register(&mut self, register: u64) -> Result<u64, HostFault> {
        msr::read_guarded(u32::try_from(register).map_err(|_| HostFault)?)
    }

    fn write_register(&mut self, _: u64, _: u64) -> Result<(), HostFault> {
        // `may_write` lists none.
        Err(HostFault)
    }

    fn may_read(register: u64) -> bool {
        READABLE.iter().any(|readable| u64::from(*readable) == register)
    }

    fn may_write(_: u64) -> bool {
        false
    }

    fn flush_host_tlb(&mut self) {
        x86_64::instructions::tlb::flush_all();
    }

    fn emulate(&mut self, vs: &mut VmxVs, exit: &Exit, guest: &impl GuestMemory, exit_page: Spa) -> bool {
        match exit.class {
            ExitClass::IdRead => {
                bare_cpuid(vs, exit_page);
                vs.advance(guest, exit_page).is_ok()
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

    fn forward(&mut self, event: ProcessorEvent) {
        self.apic.forward(event);
    }

    fn can_promote(&mut self, vs: &VmxVs, guest: &impl GuestMemory) -> bool {
        self.load_host();
        let local = 0u8;
        can_take_over(&vs.paging(), guest, &raw const local as u64)
    }

    fn reset_machine(&mut self) {
        reset::machine();
    }
}

fn bare_cpuid(vs: &VmxVs, exit_page: Spa) {
    let memory = vs.memory();
    let (leaf, subleaf) =
        (read_general(&memory, exit_page, 0) as u32, read_general(&memory, exit_page, 1) as u32);
    let cr4 = vs.with(control_registers::read_cr4);
    write_cpuid(vs, exit_page, cpuid::without_virtualization(leaf, subleaf, cr4));
}

fn write_cpuid(vs: &VmxVs, exit_page: Spa, [eax, ebx, ecx, edx]: [u32; 4]) {
    for (number, value) in [(0, eax), (3, ebx), (1, ecx), (2, edx)] {
        write_general(&vs.memory(), exit_page, number, u64::from(value));
    }
}

/// Serves CPUID from a declared answer. Returns false, and changes nothing, where none is declared.
#[inline]
fn answer(vs: &mut VmxVs, exit_page: Spa, policy: &IdPolicy, guest: &impl GuestMemory) -> bool {
    let memory = vs.memory();
    let (leaf, subleaf) =
        (read_general(&memory, exit_page, 0) as u32, read_general(&memory, exit_page, 1) as u32);
    let Some(words) = cpuid::declared(policy, leaf, subleaf) else { return false };
    if vs.advance(guest, exit_page).is_err() {
        return false;
    }
    write_cpuid(vs, exit_page, words);
    true
}
