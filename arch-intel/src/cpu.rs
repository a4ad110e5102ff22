//! A processor with VMX, while the kernel runs on it.

use plinth_arch_x86::cpu::{CpuCore, Vendor};
use plinth_arch_x86::exit_registers::{ExitPage, ExitRegisters};
use plinth_arch_x86::halt;
use plinth_arch_x86::msr;
use plinth_arch_x86::msr_table::MsrTable;
use plinth_arch_x86::nmi::NmiNote;
use plinth_arch_x86::per_cpu::PerCpu;
use plinth_arch_x86::speculation::Processor;
use plinth_arch_x86::stopped_guest::can_take_over;
use plinth_arch_x86::user::{self, UserRegisters};
use plinth_hal::{Exit, GuestMemory, IdPolicy, TakeBack};

use crate::launch::BackendPages;
use crate::lazy_state::LazyState;
use crate::msr_table::TABLE;
use crate::switch::Entry;
use crate::vmcs::setup::HostState;
use crate::vs::VmxVs;
use crate::{Vmx, emulate, events, nmi};

/// A processor with VMX.
#[derive(Debug)]
pub struct VmxCpu {
    pub(crate) core: CpuCore,
    pub(crate) host: HostState,
    host_lazy: LazyState,
    /// Where the registers go that the processor holds for a guest; `None`: it holds the kernel's own.
    loaded_of: Option<*mut LazyState>,
    /// What CSTAR holds: always a guest's, the kernel and the extension have no use for it.
    pub(crate) cstar: u64,
    /// How guests are entered, but for whether it is the first time.
    pub(crate) entry: Entry,
}

impl VmxCpu {
    /// The processor that the caller runs on.
    ///
    /// # Safety
    /// The kernel's address space, descriptor tables and system-call MSRs are loaded, as `host` and `per_cpu` say, and
    /// the processor is in VMX root operation. `note` is what its NMI handler writes.
    pub(crate) unsafe fn new(per_cpu: *mut PerCpu, host: HostState, note: &'static NmiNote) -> Self {
        let host_lazy = LazyState::read();
        let (cstar, entry) = (host_lazy.cstar, Entry::new(&Processor::current()));
        // SAFETY: forwarded to the caller.
        let core = unsafe { CpuCore::new(per_cpu, note) };
        Self { core, host, host_lazy, loaded_of: None, cstar, entry }
    }

    #[inline]
    pub(crate) fn load_guest(&mut self, vs: &mut VmxVs) {
        let place = vs.lazy_state();
        if self.loaded_of == Some(place) {
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
        self.loaded_of = Some(place);
    }

    #[cold]
    fn load_cstar(&mut self, cstar: u64) {
        // SAFETY: the value was in the register before, or checked when it was set; only guests use it.
        unsafe { msr::write(msr::index::CSTAR, cstar) };
        self.cstar = cstar;
    }
}

impl Vendor for VmxCpu {
    type Arch = Vmx;

    const MSRS: &'static MsrTable = &TABLE;
    const HOLDS_NMIS: bool = false;

    #[inline]
    fn core(&self) -> &CpuCore {
        &self.core
    }

    #[inline]
    fn core_mut(&mut self) -> &mut CpuCore {
        &mut self.core
    }

    /// Puts the guest's lazily switched registers away and the kernel's in their place.
    #[inline]
    fn load_host(&mut self) {
        if let Some(place) = self.loaded_of.take() {
            // SAFETY: the place is the VS's that they were loaded from; a VS is destroyed only after a turn of the
            // extension, which begins here. A VM exit leaves the GDT without a limit: the extension must not see
            // beyond its end.
            unsafe {
                (*place).take_changed();
                self.host_lazy.load_system_calls();
                PerCpu::load_gdt(self.core.per_cpu());
            }
        }
    }

    fn accept_interrupts() {
        // SAFETY: the kernel's IDT and TSS are loaded, with a stub for every interrupt, and interrupts are off.
        unsafe { halt::accept_interrupts() };
    }

    #[inline]
    fn run_extension(&mut self, context: &mut UserRegisters) -> bool {
        // SAFETY: `new` was told that everything is loaded; `load_host` has put the lazily switched part back.
        unsafe { user::run(self.core.per_cpu(), context) }
    }

    #[inline]
    fn run(
        &mut self,
        vs: &mut VmxVs,
        exit_page: ExitPage,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit {
        vs.follow_directory(guest);
        loop {
            let exit_reason = match self.switch(vs, exit_page) {
                Ok(exit_reason) => exit_reason,
                Err(exit) => return exit,
            };
            if let Some(exit) =
                self.try_handle(vs, exit_reason, exit_page.registers_once(), policy, guest, declared)
            {
                return exit;
            }
        }
    }

    fn park(&mut self, wake: impl Fn() -> bool) -> bool {
        if !wake() {
            // BOUND: the root VM's to set, which starts this processor, or nobody's. No PP waits for a parked PP.
            // SAFETY: the kernel's IDT is loaded and interrupts are off, as always in the kernel.
            unsafe { nmi::halt_until_nmi(self.core.note().flag()) };
        }
        self.core.note().take() != 0
    }

    fn take_kicks(&mut self) -> u32 {
        self.core.note().take()
    }

    fn emulate(vs: &mut VmxVs, exit: &Exit, guest: &impl GuestMemory, registers: ExitRegisters) -> bool {
        emulate::as_bare_machine(vs, exit, guest, registers)
    }

    fn can_promote(&self, vs: &VmxVs, guest: &impl GuestMemory) -> TakeBack {
        if vs.with(events::expects_one) {
            return TakeBack::Later;
        }
        let local = 0u8;
        let (stack, way) = (&raw const local as u64, BackendPages::of(self.core.per_cpu()).way());
        let pages = core::iter::once(way).chain(self.core.apic().mapped_page());
        TakeBack::now_if(can_take_over(vs, guest, stack, vs.features.five_levels, pages))
    }
}
