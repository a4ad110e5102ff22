//! A processor at EL2, while the kernel runs on it.

use aarch64_cpu::registers::{ELR_EL2, ESR_EL2, FAR_EL2, Readable, SP_EL0, SPSR_EL2, TPIDR_EL0, Writeable};
use plinth_extension_api::abi::register::ARM_SYSTEM;
use plinth_hal::{
    Exit, ExitClass, GuestMemory, HostCpu, HostFault, IdPolicy, ProcessorEvent, Spa, UserExit, UserFault,
};

use crate::bank::Bank;
use crate::fdt::GicKind;
use crate::features::Features;
use crate::inject::Place;
use crate::memory::IdentityMemory;
use crate::regime::{GuestEl0, Regime};
use crate::slots::hardware_id;
use crate::switch::{self, FIQ, IRQ, SYNCHRONOUS};
use crate::syndrome::{Syndrome, class};
use crate::user::UserRegisters;
use crate::vs::El2Vs;
use crate::{El2, emulate, exits, firmware, gic, host, id_registers, launch, processors, tlb};

/// The processor.
#[derive(Debug)]
pub struct El2Cpu {
    memory: IdentityMemory,
    gic: GicKind,
    user: Regime,
    /// What EL2 holds now.
    regime: Option<Regime>,
    /// The page of the VS whose registers of EL1 the processor holds.
    loaded: Option<Spa>,
    /// What the guest has enabled, while its interrupts are held back.
    masked: Option<gic::Held>,
    id: u32,
    /// The extension is translated by the kernel's own tables.
    shared_regime: bool,
}

impl El2Cpu {
    /// The processor that the caller runs on.
    ///
    /// # Safety
    /// The kernel's registers of EL2 are loaded, `user_root` is the extension's stage 2, and `gic` is what the
    /// machine has, mapped.
    pub(crate) unsafe fn new(
        memory: IdentityMemory,
        features: &Features,
        user_root: Spa,
        gic: GicKind,
    ) -> Self {
        // SAFETY: at EL2, and no guest runs yet.
        unsafe { host::open_el1(features, gic) };
        tlb::flush_guests();
        Self {
            memory,
            gic,
            user: Regime::user(features, user_root),
            regime: None,
            loaded: None,
            masked: None,
            id: hardware_id(processors::own_affinity()),
            shared_regime: features.shared_regime,
        }
    }

    #[inline]
    fn use_regime(&mut self, regime: Regime) {
        if self.regime != Some(regime) {
            regime.load();
            self.regime = Some(regime);
        }
    }

    /// Makes the processor hold the registers of EL1 that `page` stands for.
    #[inline]
    fn use_bank(&mut self, page: Spa) {
        if self.loaded == Some(page) {
            return;
        }
        self.change_bank(page);
    }

    #[cold]
    fn change_bank(&mut self, page: Spa) {
        if let Some(other) = self.loaded {
            let other = Bank::new(self.memory, other);
            if other.is_loaded() {
                other.save();
            }
        }
        Bank::new(self.memory, page).load();
        self.loaded = Some(page);
    }

    /// # Safety
    /// `registers` are 31 words for X0 to X30, and the regime of whoever is at `place` is loaded.
    #[inline]
    unsafe fn descend(&mut self, place: Place, registers: u64) -> u64 {
        ELR_EL2.set(place.pc);
        SPSR_EL2.set(place.pstate);
        // SAFETY: a barrier, so that walkers see what the kernel wrote; the rest is forwarded to the caller.
        unsafe {
            core::arch::asm!("dsb ishst", options(nostack, preserves_flags));
            switch::enter(registers)
        }
    }

    #[inline]
    fn run_once(&mut self, vs: &mut El2Vs, exit_page: Spa) -> u64 {
        if let Some(old) = self.masked.take() {
            // SAFETY: `new` was told that the interface is there.
            unsafe { gic::unmask(self.gic, old) };
        }
        self.use_regime(vs.regime());
        self.use_bank(vs.page());
        let place = vs.entry();
        // SAFETY: the exit page is this PP's; the regime is the VS's.
        let kind = unsafe { self.descend(place, exit_page.raw()) };
        vs.exited();
        kind
    }

    /// Runs the extension. Interrupts of the root VM are held back from the first one on.
    #[inline]
    fn run_user(&mut self, context: &mut UserRegisters) -> u64 {
        loop {
            let place = Place { pc: context.pc, pstate: context.pstate };
            // SAFETY: the context is exclusively ours; the regime is the extension's.
            let kind = unsafe { self.descend(place, context.general.as_mut_ptr() as u64) };
            context.pc = ELR_EL2.get();
            context.pstate = SPSR_EL2.get();
            if !matches!(kind, IRQ | FIQ) {
                return kind;
            }
            if self.masked.is_none() {
                // SAFETY: `new` was told that the interface is there.
                self.masked = unsafe { gic::mask(self.gic) };
            }
        }
    }
}

impl HostCpu for El2Cpu {
    type Arch = El2;

    fn hardware_id(&self) -> u32 {
        self.id
    }

    #[inline]
    fn enter_user(&mut self, context: &mut UserRegisters) -> UserExit {
        self.use_regime(self.user);
        let guest = GuestEl0::replace(context, self.shared_regime);
        let kind = self.run_user(context);
        context.sp = SP_EL0.get();
        context.thread = TPIDR_EL0.get();
        guest.load();
        let syndrome = Syndrome(ESR_EL2.get());
        if kind == SYNCHRONOUS && syndrome.class() == class::SVC {
            return UserExit::Call;
        }
        context.syndrome = syndrome.0;
        context.address = FAR_EL2.get();
        if kind != SYNCHRONOUS {
            return UserExit::Fault(UserFault { vector: 0x2F, error: syndrome.0, ..context.fault() });
        }
        UserExit::Fault(context.fault())
    }

    #[inline]
    fn run(
        &mut self,
        vs: &mut El2Vs,
        exit_page: Spa,
        policy: &IdPolicy,
        _: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit {
        loop {
            let kind = self.run_once(vs, exit_page);
            match exits::classify(vs, kind, exit_page) {
                None => {}
                Some(exit) if exit.class == ExitClass::IdRead && answer(vs, &exit, exit_page, policy) => {
                    *declared += 1;
                }
                Some(exit) if vs.write_through(&exit, exit_page) => {}
                Some(exit) => return exit,
            }
        }
    }

    /// Wakes a parked PP: each one that waits looks whether it is meant. A running guest needs no kick here, because
    /// invalidation is broadcast.
    fn kick(&self, _: u32) {
        // SAFETY: a barrier, so that the others see what they are woken for, and an event.
        unsafe { core::arch::asm!("dsb ish", "sev", options(nostack, preserves_flags)) };
    }

    fn flush_everywhere(&self) -> bool {
        tlb::flush_guests();
        true
    }

    fn park(&mut self, wake: impl Fn() -> bool) -> bool {
        if wake() {
            return false;
        }
        aarch64_cpu::asm::wfe();
        true
    }

    fn relax(&self) {
        core::hint::spin_loop();
    }

    fn read_register(&mut self, register: u64) -> Result<u64, HostFault> {
        id_registers::native(register.wrapping_sub(ARM_SYSTEM)).ok_or(HostFault)
    }

    fn write_register(&mut self, _: u64, _: u64) -> Result<(), HostFault> {
        // `may_write` lists none.
        Err(HostFault)
    }

    fn may_read(register: u64) -> bool {
        register.checked_sub(ARM_SYSTEM).is_some_and(crate::syndrome::is_id_register)
    }

    fn may_write(_: u64) -> bool {
        false
    }

    /// The kernel's own map never changes once it runs; what changes is the extension's, a stage 2 or a part of it.
    fn flush_host_tlb(&mut self) {
        if self.shared_regime {
            tlb::flush_own();
        } else {
            tlb::flush_guests();
        }
    }

    fn emulate(&mut self, vs: &mut El2Vs, exit: &Exit, guest: &impl GuestMemory, exit_page: Spa) -> bool {
        emulate::as_bare_machine(vs, exit, guest, exit_page)
    }

    /// Nothing comes here: a processor that does not run under Plinth is started by the firmware at once.
    fn forward(&mut self, _: ProcessorEvent) {}

    /// EL2 cannot be given back to an OS that runs at EL1.
    fn can_promote(&mut self, _: &El2Vs, _: &impl GuestMemory) -> bool {
        false
    }

    fn reset_machine(&mut self) {
        if launch::has_firmware() {
            firmware::reset();
        }
    }
}

/// Serves an ID register from a declared answer: the first two words of it. Returns false, and changes nothing, where
/// none is declared.
#[inline]
fn answer(vs: &mut El2Vs, exit: &Exit, exit_page: Spa, policy: &IdPolicy) -> bool {
    let Some(found) = policy.find(exit.number as u32, 0) else { return false };
    let word = |words: &[u32; 4]| u64::from(words[0]) | u64::from(words[1]) << 32;
    let keep = word(&found.keep);
    let native = if keep == 0 { 0 } else { id_registers::native(exit.number).unwrap_or(0) };
    emulate::write_general(vs, exit_page, exit.detail, native & keep | word(&found.set));
    vs.skip();
    true
}
