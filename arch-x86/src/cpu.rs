//! A processor, whichever vendor's it is: [`Cpu`] is what the kernel sees, a [`Vendor`] what differs.
//!
//! Kicks, the local APIC, the clock of the extension, registers and the start of other processors are the same on both, and
//! are here. How a guest is entered, what stays in the processor meanwhile and how an NMI is held back is the vendor's. All
//! calls are static: `Cpu<V>` is compiled for each vendor.

use plinth_hal::{
    Arch, Exit, GuestMemory, HostCpu, HostFault, IdPolicy, Page, ProcessorEvent, Registers, TakeBack,
    UserExit,
};

use crate::apic::LocalApic;
#[cfg(feature = "fault-injection")]
use crate::fault_injection::{self, Nmis};
use crate::interrupts::Interrupts;
use crate::msr_table::MsrTable;
use crate::nmi::{self, NmiNote};
use crate::per_cpu::PerCpu;
use crate::user::UserRegisters;
use crate::{apic_access, kpti, msr, reset, time};

/// What a vendor's processor is made of beside its own part.
#[derive(Debug)]
pub struct CpuCore {
    per_cpu: *mut PerCpu,
    note: &'static NmiNote,
    apic: LocalApic,
    id: u32,
    interrupts: Interrupts,
}

impl CpuCore {
    /// The processor that the caller runs on.
    ///
    /// # Safety
    /// `per_cpu` is this processor's and loaded, and stays; `note` is what its NMI handler writes.
    pub unsafe fn new(per_cpu: *mut PerCpu, note: &'static NmiNote) -> Self {
        let apic = LocalApic::current();
        Self { per_cpu, note, apic, id: apic.announce(), interrupts: Interrupts::default() }
    }

    /// This processor's descriptor tables and stacks.
    #[inline]
    pub fn per_cpu(&self) -> *mut PerCpu {
        self.per_cpu
    }

    /// What the NMI handler has noted.
    #[inline]
    pub fn note(&self) -> &'static NmiNote {
        self.note
    }

    /// The local APIC.
    pub fn apic(&self) -> LocalApic {
        self.apic
    }

    /// Sends this processor an NMI.
    pub fn send_own_nmi(&self) {
        self.apic.send_nmi(self.id);
    }

    /// Sorts what has stopped the extension, if that was no system call.
    #[cold]
    #[inline(never)]
    fn not_called(&mut self, context: &mut UserRegisters) -> UserExit {
        let stopped = context.stopped();
        match stopped {
            UserExit::Kick => nmi::unblock(),
            UserExit::Clock => return self.interrupted(context),
            _ => {}
        }
        stopped
    }

    /// Takes the interrupt that has stopped the extension, or what looks like one.
    fn interrupted(&mut self, context: &mut UserRegisters) -> UserExit {
        let stopped = self.interrupts.taken(self.apic, context);
        if self.interrupts.are_shut_out() {
            self.let_interrupts_in(false);
        }
        stopped
    }

    fn let_interrupts_in(&mut self, on: bool) {
        // SAFETY: the structure is this processor's, which runs here, said the caller of `new`.
        unsafe { PerCpu::let_interrupts_in(self.per_cpu, on) };
    }
}

/// What the kernel asks of a processor and the two vendors answer differently: [`HostCpu`] has the contracts.
pub trait Vendor: Sized {
    /// The backend.
    type Arch: Arch<User = UserRegisters>;

    /// Which MSRs guests and the extension may access.
    const MSRS: &'static MsrTable;
    /// An NMI that arrives on the way to or from the extension is held back.
    const HOLDS_NMIS: bool;

    /// The common part.
    fn core(&self) -> &CpuCore;

    /// The common part, to change it.
    fn core_mut(&mut self) -> &mut CpuCore;

    /// Brings what the processor holds of a guest back into that guest's VS, and loads the kernel's own.
    fn load_host(&mut self);

    /// Takes the interrupts that are pending, NMIs too.
    fn accept_interrupts();

    /// Runs the extension until it stops. Returns whether it has made a system call. [`Self::load_host`] has been called.
    fn run_extension(&mut self, context: &mut UserRegisters) -> bool;

    /// Re-sends an NMI that arrived while the extension was entered or left, where the guest would miss it otherwise.
    #[inline]
    fn resend_nmi(&mut self) {}

    /// As [`HostCpu::run`].
    fn run(
        &mut self,
        vs: &mut <Self::Arch as Arch>::Vs,
        exit_page: Page<Self::Arch>,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit;

    /// As [`HostCpu::park`].
    fn park(&mut self, wake: impl Fn() -> bool) -> bool;

    /// As [`HostCpu::take_kicks`].
    fn take_kicks(&mut self) -> u32;

    /// As [`HostCpu::emulate`].
    fn emulate(
        vs: &mut <Self::Arch as Arch>::Vs,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: Registers<Self::Arch>,
    ) -> bool;

    /// As [`HostCpu::can_promote`]. [`Self::load_host`] has been called.
    fn can_promote(&self, vs: &<Self::Arch as Arch>::Vs, guest: &impl GuestMemory) -> TakeBack;
}

/// A processor, while the kernel runs on it.
#[derive(Debug)]
pub struct Cpu<V>(pub V);

impl<V: Vendor> HostCpu for Cpu<V> {
    type Arch = V::Arch;

    fn hardware_id(&self) -> u32 {
        self.0.core().id
    }

    #[inline]
    fn enter_user(&mut self, context: &mut UserRegisters) -> UserExit {
        self.0.load_host();
        let called = self.0.run_extension(context);
        let exit = if called { UserExit::Call } else { self.0.core_mut().not_called(context) };
        self.0.resend_nmi();
        #[cfg(feature = "fault-injection")]
        fault_injection::serve(exit, context, Nmis { note: self.0.core().note, held_back: V::HOLDS_NMIS });
        exit
    }

    #[inline]
    fn run(
        &mut self,
        vs: &mut <V::Arch as Arch>::Vs,
        exit_page: Page<V::Arch>,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit {
        self.0.run(vs, exit_page, policy, guest, declared)
    }

    fn kick(&self, hardware_id: u32) {
        self.0.core().apic.send_nmi(hardware_id);
    }

    fn take_kicks(&mut self) -> u32 {
        self.0.take_kicks()
    }

    fn park(&mut self, wake: impl Fn() -> bool) -> bool {
        // BOUND: that of each vendor: the root VM starts this processor, or nobody waits for it.
        self.0.park(wake)
    }

    fn reset_interrupts(&mut self) -> bool {
        self.0.load_host();
        let CpuCore { apic, note, .. } = *self.0.core();
        apic.reset(|| {
            V::accept_interrupts();
            note.take() != 0
        })
    }

    fn counter(&self) -> u64 {
        time::counter()
    }

    fn frequency(&self) -> Option<u64> {
        time::frequency()
    }

    fn end_turn_after(&mut self, ticks: u64) {
        let core = self.0.core_mut();
        core.interrupts.continue_within(core.apic, ticks);
    }

    fn interrupts_changed(&mut self, by: Option<&Exit>) {
        if by.is_none_or(|exit| apic_access::changes_interrupts(exit.number)) {
            let core = self.0.core_mut();
            let come = core.interrupts.may_come(core.apic, by.is_some());
            core.let_interrupts_in(come);
        }
    }

    fn return_interrupts(&mut self) {
        let core = self.0.core_mut();
        core.interrupts.give_back(core.apic);
    }

    fn relax(&self) {
        // BOUND: one pause, not a loop: each caller's loop names its own bound.
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
        V::MSRS.is_readable(register)
    }

    fn may_write(_: u64) -> bool {
        false
    }

    fn flush_host_tlb(&mut self) {
        kpti::flush();
    }

    fn emulate(
        &mut self,
        vs: &mut <V::Arch as Arch>::Vs,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: Registers<V::Arch>,
    ) -> bool {
        V::emulate(vs, exit, guest, registers)
    }

    fn forward(&mut self, event: ProcessorEvent) {
        self.0.core().apic.forward(event);
    }

    fn start_cold(&self, hardware_id: u32) -> bool {
        self.0.core().apic.start_cold(hardware_id)
    }

    fn start_again(&self, hardware_id: u32) {
        self.0.core().apic.start_again(hardware_id);
    }

    fn can_promote(
        &mut self,
        vs: &<V::Arch as Arch>::Vs,
        guest: &impl GuestMemory,
        _: Registers<V::Arch>,
    ) -> TakeBack {
        self.0.load_host();
        self.0.can_promote(vs, guest)
    }

    fn reset_machine(&mut self) {
        reset::machine();
    }
}
