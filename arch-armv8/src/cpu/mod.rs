//! A processor at EL2, while the kernel runs on it.

mod errors;
mod redistributor;
mod single_step;
mod take_back;
mod ways;

use aarch64_cpu::registers::{
    CNTFRQ_EL0, ELR_EL2, ESR_EL2, FAR_EL2, ICH_HCR_EL2, Readable, SP_EL0, SPSR_EL2, TPIDR_EL0, Writeable,
};
use plinth_extension_api::abi::register::ARM_SYSTEM;
use plinth_hal::{
    Exit, ExitClass, GuestMemory, HostCpu, HostFault, IdPolicy, ProcessorEvent, Spa, TakeBack, UserContext,
    UserExit, UserFault, UserVa,
};

use self::ways::Ways;
use crate::debug_registers::Locks;
use crate::el1_context::El1Context;
use crate::el2::traps::Opened;
use crate::el2::world::{self, GuestControl, GuestEl0};
use crate::exit_registers::{ExitPage, ExitRegisters};
use crate::fast_path::{FastPath, Stop};
use crate::features::Features;
use crate::gic::hyp_timer::HypTimer;
use crate::id::values::Natives;
use crate::inject::Place;
use crate::machine::device_tree::GicKind;
use crate::root_state::Caller;
use crate::serror::{HCR_VIRTUAL_ERROR, RootError};
use crate::stage2::shootdown::{self, Root};
use crate::switch::{self, FIQ, IRQ, SERROR, SYNCHRONOUS};
use crate::syndrome::{Syndrome, class};
use crate::trap_config::TrapConfig;
use crate::user::{UserPlace, UserRegisters};
use crate::vs::El2Vs;
use crate::{
    El2, buffers, deadline, el2, el2::id_registers, el2::probe, emulate, exit, gic, gic::icc, mpidr,
    power::firmware, stage2::tlb,
};

/// A flag in [`El2Cpu::extra`]: interrupts are masked ([`El2Cpu::masked`]). The entry clears it, so HCR_EL2 never has it.
const MASKED: u64 = 1 << 63;

/// The processor.
#[derive(Debug)]
pub struct El2Cpu {
    pub(crate) gic: GicKind,
    /// This CPU's own stage-2 root table, by which every guest here is translated.
    root: Root,
    user: TrapConfig,
    natives: Natives,
    opened: Opened,
    features: Features,
    /// Bits of HCR_EL2 that this CPU adds to the VS's own: a pending virtual SError ([`HCR_VIRTUAL_ERROR`]), those of an
    /// armed deadline, and [`MASKED`] until the guest is entered.
    pub(crate) extra: u64,
    /// An SError that is pending for the root VM.
    error: RootError,
    /// An SError has been logged. Only the first one is: a guest can raise them at will.
    error_logged: bool,
    /// The root VM's VS, once it has run here: the one whose timers go on while another VM runs.
    pub(crate) root_bank: Option<El1Context>,
    /// The registers in the CPU are the root VM's.
    holds_root: bool,
    /// The guest's interrupt mask, while the extension runs with interrupts masked.
    masked: Option<gic::Held>,
    /// The root VM's interrupt mask, while a deadline is armed and one of its interrupts is pending as a virtual IRQ.
    pub(crate) held: Option<gic::Held>,
    /// The traps of the GICv3 CPU interface that are set: see [`Self::use_interface`].
    pub(crate) interface_traps: u64,
    pub(crate) clock: HypTimer,
    /// The root VM's OS lock and double lock, saved while the kernel single-steps a VS.
    locks: Option<Locks>,
    id: u32,
    ways: Ways,
    /// The CPU has VSESR_EL2 (FEAT_RAS).
    has_virtual_syndrome: bool,
    /// The caller that gets this CPU back when Plinth is stopped.
    way_back: Option<Caller>,
}

/// Why the extension stopped.
#[derive(Clone, Copy)]
struct Stopped {
    /// The result of [`switch::enter`].
    kind: u64,
    syndrome: Syndrome,
}

impl Stopped {
    #[inline]
    fn is_call(self) -> bool {
        self.kind == SYNCHRONOUS && self.syndrome.class() == class::SVC
    }
}

impl El2Cpu {
    /// The processor that the caller runs on.
    ///
    /// # Safety
    /// The kernel's registers of EL2 are loaded, `user_root` is the extension's stage 2, `gic` is what the machine has, mapped, and
    /// `way_back` is who has launched it here.
    pub(crate) unsafe fn new(
        features: &Features,
        user_root: Spa,
        root: Root,
        gic: GicKind,
        clock: HypTimer,
        way_back: Option<Caller>,
    ) -> Self {
        // SAFETY: at EL2, and no guest runs yet.
        let gic = unsafe { el2::open_el1(features, gic) };
        tlb::flush_guests();
        probe::note_execution_states();
        let cpu = Self {
            gic,
            root,
            user: TrapConfig::user(features, user_root),
            natives: Natives::of(&id_registers::facts()),
            opened: Opened::to_root(features, gic),
            features: *features,
            extra: 0,
            error: RootError::default(),
            error_logged: false,
            root_bank: None,
            holds_root: false,
            masked: None,
            held: None,
            interface_traps: 0,
            clock,
            locks: None,
            id: mpidr::own_hardware_id(),
            ways: Ways::of(features),
            has_virtual_syndrome: features.error_records,
            way_back,
        };
        // `enter_user` takes HCR_EL2 as the sign of the extension's configuration: load it now.
        cpu.user.load_user();
        cpu
    }

    #[inline]
    fn use_guest(&mut self, mut trap_config: TrapConfig) {
        trap_config.hcr |= self.extra;
        trap_config.load();
    }

    #[inline]
    fn use_users(&mut self) {
        if self.ways.has_records() {
            buffers::drain(&self.features);
        }
        self.user.load_user();
    }

    /// Sets the traps of the GICv3 CPU interface. With IMO set and no trap, EL1 would reach the virtual CPU interface, which
    /// the kernel does not use.
    pub(crate) fn use_interface(&mut self, traps: u64) {
        if self.interface_traps != traps && self.gic == GicKind::V3 {
            ICH_HCR_EL2.set(traps);
            self.interface_traps = traps;
        }
    }

    #[inline]
    fn go_to(place: Place) {
        ELR_EL2.set(place.pc);
        SPSR_EL2.set(place.pstate.raw());
        // SAFETY: a barrier, so that walkers see what the kernel wrote.
        unsafe { core::arch::asm!("dsb ishst", options(nostack, preserves_flags)) };
    }

    #[inline]
    fn run_once(
        &mut self,
        vs: &mut El2Vs,
        exit_page: ExitPage,
        policy: &IdPolicy,
        declared: &mut u64,
    ) -> Stop {
        if self.extra != 0 {
            self.let_interrupts_through();
        }
        if vs.has_preparations() {
            self.prepare(vs);
        }
        self.use_guest(vs.trap_config());
        Self::go_to(vs.entry());
        let mut serving = FastPath { vs: &*vs, exit_page, policy, natives: &self.natives, declared };
        // SAFETY: the exit page is this PP's; the regime is the VS's.
        unsafe { serving.run() }
    }

    /// First steps after every return to EL2, whether or not an exit follows.
    #[inline(always)]
    pub(crate) fn arrived(&mut self, vs: &mut El2Vs) {
        if self.ways.is_shared() {
            el2::forbid_user_access();
        }
        #[cfg(feature = "fault-injection")]
        crate::fault_injection::exited();
        vs.exited();
    }

    #[inline(always)]
    pub(crate) fn exited(&mut self, vs: &mut El2Vs) {
        self.arrived(vs);
        if self.extra != 0 {
            self.end_run();
        }
    }

    /// Handles a trapped system register access. `None` if the kernel has carried it out.
    #[inline(never)]
    fn system(&mut self, vs: &mut El2Vs, exit: Exit, exit_page: ExitPage) -> Option<Exit> {
        if let Some(done) = self.serve_interface(vs, &exit, exit_page) {
            return done;
        }
        self.exited(vs);
        if let Some(stepped) = self.serve_debug(vs, &exit, exit_page) {
            return Some(stepped);
        }
        (!vs.write_through(&exit, exit_page.registers_once())).then_some(exit)
    }

    /// Prepares an entry that needs more than the registers: a TLB invalidation, a single step, a deadline.
    #[cold]
    #[inline(never)]
    fn prepare(&mut self, vs: &mut El2Vs) {
        if vs.take_flush() {
            self.take_on(vs);
        }
        self.look_after_locks(vs.is_stepping());
        if !vs.is_root() {
            self.watch(vs);
        } else if let Some(deadline) = vs.deadline() {
            self.arm(deadline);
        }
    }

    /// Ends what was set up for this run alone: the deadline, and a virtual SError that was delivered.
    #[cold]
    fn end_run(&mut self) {
        self.disarm();
        self.error_delivered();
    }

    /// Switches this CPU to a VS for which the TLB must hold no entry. Every VS that has just become active is one: its EL1
    /// registers are loaded here too.
    fn take_on(&mut self, vs: &mut El2Vs) {
        self.root.empty();
        vs.translate_by(self.root.at());
        vs.el1_context().stop_walks();
        // SAFETY: at EL2, for the VM that runs next.
        unsafe { self.opened.open_to(vs.is_root()) };
        self.natives.show_to(vs.is_root());
        let trap_config = vs.trap_config();
        self.use_guest(trap_config);
        self.use_interface(if trap_config.has_virtual_interrupts() { icc::ALL } else { 0 });
        tlb::flush_current_guest();
        self.root.fill(vs.nested_root());
        if !vs.el1_context().is_loaded() {
            vs.el1_context().load();
        }
        self.holds(vs);
    }

    /// Records whose registers the CPU holds. Back in the root VM, its timers and a pending SError are its own again.
    fn holds(&mut self, vs: &El2Vs) {
        self.holds_root = vs.is_root();
        if self.holds_root {
            self.root_bank = Some(vs.el1_context());
            if self.extra & deadline::OURS == 0 {
                // SAFETY: `new` was told that the interface is there.
                unsafe { self.clock.put_back() };
            }
        }
        self.extra = self.extra & !HCR_VIRTUAL_ERROR | self.error.bits(self.holds_root);
    }

    #[cold]
    fn let_interrupts_through(&mut self) {
        self.extra &= !MASKED;
        if let Some(old) = self.masked.take() {
            // SAFETY: `new` was told that the interface is there.
            unsafe {
                self.clock.put_back();
                gic::unmask(self.gic, old);
            }
        }
    }

    /// Runs the extension from `place` until it stops. `go` enters EL0 and returns the kind of exception.
    #[inline(always)]
    fn turn(context: &mut UserRegisters, place: UserPlace, go: impl FnOnce(u64) -> u64) -> Stopped {
        let guest = GuestEl0::replace(place.sp, place.thread);
        Self::go_to(place.at);
        let kind = go(context.general.as_mut_ptr() as u64);
        context.pc = ELR_EL2.get();
        context.pstate = SPSR_EL2.get();
        context.sp = SP_EL0.get();
        context.thread = TPIDR_EL0.get();
        guest.load();
        Stopped { kind, syndrome: Syndrome(ESR_EL2.get()) }
    }

    #[inline(always)]
    fn stopped(&mut self, context: &mut UserRegisters, stopped: Stopped) -> UserExit {
        if !stopped.is_call() {
            return self.not_called(context, stopped);
        }
        #[cfg(feature = "fault-injection")]
        crate::fault_injection::serve(context, self.ways.is_shared());
        UserExit::Call
    }

    /// The extension stopped for another reason than a system call. The root VM's interrupts are masked from the first one
    /// on; after any other one the extension resumes at once.
    #[cold]
    #[inline(never)]
    fn not_called(&mut self, context: &mut UserRegisters, mut stopped: Stopped) -> UserExit {
        while stopped.kind != SYNCHRONOUS && self.interrupted(stopped.kind) {
            stopped = self.go_on(context);
        }
        let Stopped { kind, syndrome } = stopped;
        if stopped.is_call() {
            return UserExit::Call;
        }
        if matches!(kind, IRQ | FIQ) {
            return UserExit::Clock;
        }
        context.syndrome = syndrome.0;
        context.address = FAR_EL2.get();
        if kind != SYNCHRONOUS {
            return UserExit::Fault(UserFault { vector: 0x2F, error: syndrome.0, ..context.fault() });
        }
        UserExit::Fault(context.fault())
    }

    /// Runs the extension from its saved context. The guest's control registers are replaced if they would disturb EL0.
    #[inline(always)]
    fn go_on(&mut self, context: &mut UserRegisters) -> Stopped {
        let disturbs = GuestControl::disturbs(self.ways.is_shared());
        let control = disturbs.then(|| GuestControl::replace(self.ways.is_shared()));
        let upcall = context.take_upcall();
        // SAFETY: the context is exclusively ours; the regime is the extension's.
        let go = |registers| unsafe {
            match upcall {
                Some(arguments) => switch::enter_upcall(registers, arguments),
                None => switch::enter(registers),
            }
        };
        let stopped = Self::turn(context, context.place(), go);
        if let Some(control) = control {
            control.load();
        }
        stopped
    }

    /// Handles an interrupt of the extension. An interrupt of the root VM stays pending; the other case is the hypervisor
    /// timer. Returns whether the extension resumes at once: not on the first interrupt or when the timer expires, since the
    /// watchdog then checks how long the extension has run, and not for an unknown cause.
    #[cold]
    fn interrupted(&mut self, kind: u64) -> bool {
        match kind {
            IRQ | FIQ if self.masked.is_none() => {
                // SAFETY: `new` was told that the interface is there.
                self.masked = unsafe { gic::mask(self.gic) };
                self.extra |= if self.masked.is_some() { MASKED } else { 0 };
                false
            }
            IRQ | FIQ if self.clock.stop() => false,
            // An interrupt of the root VM with the timer's priority: mask it too. The timer's interrupt no longer arrives
            // either.
            IRQ | FIQ => {
                // SAFETY: as above.
                let more = unsafe { gic::mask(self.gic) };
                if let Some(held) = &mut self.masked {
                    held.add(more);
                }
                true
            }
            SERROR => {
                self.hand_on_error(Syndrome(ESR_EL2.get()));
                true
            }
            _ => false,
        }
    }

    /// [`HostCpu::enter_user`], out of line for the cold path of an upcall.
    #[cold]
    #[inline(never)]
    fn enter_prepared(&mut self, context: &mut UserRegisters) -> UserExit {
        self.enter_user(context)
    }
}

/// Gives the interrupt controller, the timer and the debug locks back as the OS left them.
impl Drop for El2Cpu {
    fn drop(&mut self) {
        self.disarm();
        self.let_interrupts_through();
        // SAFETY: as in `holds`.
        unsafe { self.clock.put_back() };
        self.look_after_locks(false);
    }
}

impl HostCpu for El2Cpu {
    type Arch = El2;

    fn hardware_id(&self) -> u32 {
        self.id
    }

    #[inline(always)]
    fn enter_user(&mut self, context: &mut UserRegisters) -> UserExit {
        if !world::is_users() {
            self.use_users();
        }
        let stopped = self.go_on(context);
        self.stopped(context, stopped)
    }

    #[inline(always)]
    fn enter_upcall(
        &mut self,
        context: &mut UserRegisters,
        entry: UserVa,
        stack: UserVa,
        arguments: [u64; 3],
    ) -> UserExit {
        if GuestControl::disturbs(self.ways.is_shared()) {
            context.prepare_upcall(entry, stack, arguments);
            return self.enter_prepared(context);
        }
        self.use_users();
        // SAFETY: as in `go_on`.
        let go = |registers| unsafe { switch::enter_upcall(registers, arguments) };
        let stopped = Self::turn(context, UserPlace::of_upcall(entry, stack), go);
        self.stopped(context, stopped)
    }

    #[inline]
    fn run(
        &mut self,
        vs: &mut El2Vs,
        exit_page: ExitPage,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit {
        loop {
            match self.run_once(vs, exit_page, policy, declared) {
                Stop::Call(exit) => {
                    self.exited(vs);
                    return exit;
                }
                Stop::IdRead(exit) => {
                    self.exited(vs);
                    vs.set_native(self.natives.get(exit.number));
                    return exit;
                }
                Stop::System(exit) => {
                    if let Some(exit) = self.system(vs, exit, exit_page) {
                        return exit;
                    }
                }
                Stop::Exception => {
                    self.exited(vs);
                    if let Some(exit) = exit::classify(vs, self.root)
                        && !self.serve_redistributor(vs, &exit, exit_page, guest)
                    {
                        return exit;
                    }
                }
                Stop::Interrupt(SERROR) => {
                    self.exited(vs);
                    self.hand_on_error(vs.syndrome());
                    if !vs.is_root() {
                        return Exit::of(ExitClass::Interrupt);
                    }
                }
                Stop::Interrupt(kind) => {
                    if let Some(exit) = self.guest_interrupted(vs, kind) {
                        return exit;
                    }
                }
            }
        }
    }

    const KICK_IS_NMI: bool = false;

    /// Makes another CPU look at its mailbox. Emptying its stage-2 root stops a running guest, and the event wakes a parked
    /// PP. A PP that wakes without cause waits again.
    fn kick(&self, hardware_id: u32) {
        shootdown::recall(hardware_id);
        // SAFETY: a barrier, so that the others see what they are woken for, and an event.
        unsafe { core::arch::asm!("dsb ish", "sev", options(nostack, preserves_flags)) };
    }

    /// Arms the timer only once interrupts are masked. A turn that ends by itself changes nothing in the controller, and
    /// until the mask is set the first interrupt brings the kernel here again.
    fn end_turn_after(&mut self, ticks: u64) {
        if self.masked.is_some() {
            // SAFETY: `new` was told that the interface is there, and it is masked.
            unsafe { self.clock.start(self.gic, ticks) };
        }
    }

    fn flush_everywhere(&self) -> bool {
        self.root.recall_others()
    }

    fn park(&mut self, wake: impl Fn() -> bool) -> bool {
        if wake() {
            return false;
        }
        // BOUND: the root VM's to set, which starts this processor, or nobody's. No PP waits for a parked PP.
        aarch64_cpu::asm::wfe();
        true
    }

    fn counter(&self) -> u64 {
        crate::gic::hyp_timer::counter()
    }

    fn frequency(&self) -> Option<u64> {
        Some(CNTFRQ_EL0.get()).filter(|frequency| *frequency != 0)
    }

    fn relax(&self) {
        // BOUND: one pause, not a loop: each caller's loop names its own bound.
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

    /// The kernel's own mappings never change after the launch. Only the extension's do: in a stage 2, or in the shared
    /// EL2&0 tables.
    fn flush_host_tlb(&mut self) {
        if self.ways.is_shared() {
            tlb::flush_own();
        } else {
            tlb::flush_guests();
        }
    }

    fn emulate(
        &mut self,
        vs: &mut El2Vs,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: ExitRegisters,
    ) -> bool {
        emulate::as_bare_machine(vs, exit, guest, registers)
    }

    /// Never called: the firmware starts a CPU that does not run under Plinth yet, at once.
    fn forward(&mut self, _: ProcessorEvent) {}

    fn can_promote(&mut self, vs: &El2Vs, guest: &impl GuestMemory, registers: ExitRegisters) -> TakeBack {
        self.take_back(vs, guest, registers)
    }

    fn can_turn_off(&self) -> bool {
        self.is_firmwares()
    }

    fn reset_machine(&mut self) {
        if firmware::is_present() {
            firmware::reset();
        }
    }
}
