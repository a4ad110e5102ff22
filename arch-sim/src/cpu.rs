//! A processor.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use plinth_extension_api::abi::{ExitPage, register};
use plinth_hal::{
    Event, Exit, ExitClass, Gpa, GuestMemory, HostCpu, HostFault, IdPolicy, Page, PageWriter, ProcessorEvent,
    Registers, Spa, TakeBack, UserExit, VsHw,
};

use crate::execute::Flow;
use crate::machine::{DEVICE_INTERRUPT, FREQUENCY, Machine, PowerLoss, Trace, wait_until};
use crate::mmu::{HOST_TAG, Space, Tlb};
use crate::state::StateCache;
use crate::user::SimUser;
use crate::vs::{INTERRUPT_FLAG, SimVs};
use crate::{RootState, Sim};

/// The first register that an extension may write; it may read those below too.
pub const WRITABLE_REGISTERS: u64 = 0x10;
/// The first register that an extension may not even read. The machine lacks some of those it may.
pub const DENIED_REGISTERS: u64 = 0x40;

/// A value of CR0 that no processor runs with.
pub const IMPOSSIBLE_CR0: u64 = u64::MAX;

/// Instructions that a slow interrupt takes.
const SLOW_INTERRUPT: u32 = 2000;

/// A processor, with its TLB and what it keeps of the VS that it ran last.
pub struct SimCpu {
    pub(crate) machine: &'static Machine,
    pub(crate) number: usize,
    pub(crate) tlb: Tlb,
    pub(crate) host: Space,
    pub(crate) cache: StateCache,
    /// Instructions since an interrupt became pending.
    interrupt_age: u32,
    /// When the extension is to be stopped.
    pub(crate) deadline: Option<u64>,
    /// Interrupts of devices may stop it too.
    pub(crate) lets_in: bool,
    /// One has, and is kept for the root VM.
    pub(crate) keeps: bool,
}

impl SimCpu {
    /// Processor `number`, on which the extension runs on the tables at `user_root`. The kernel needs none here.
    pub fn new(machine: &'static Machine, number: usize, user_root: Spa) -> Self {
        let host = Space { root: user_root, tag: HOST_TAG };
        let (tlb, cache) = (Tlb::default(), StateCache::default());
        let (deadline, lets_in, keeps) = (None, false, false);
        Self { machine, number, tlb, host, cache, interrupt_age: 0, deadline, lets_in, keeps }
    }

    fn flush(&mut self, tag: u16) {
        if !self.machine.trouble.ignores_flushes.load(Ordering::Relaxed) {
            self.tlb.flush(tag);
        }
    }

    /// Loads what the kernel changed, or refuses to.
    fn enter_guest(&mut self, vs: &mut SimVs) -> Result<(), Exit> {
        let refuses = self.machine.trouble.refuses_entry.load(Ordering::SeqCst) >> self.number & 1 != 0;
        let impossible = vs.state.get(register::X86_CR0) == Some(IMPOSSIBLE_CR0);
        if refuses || impossible || vs.space.tag == HOST_TAG {
            return Err(Exit::of(ExitClass::EntryRefused));
        }
        if std::mem::take(&mut vs.flush) {
            self.flush(vs.space.tag);
        }
        self.cache.load(vs.serial, &vs.state, vs.marks);
        vs.marks = crate::state::Marks::NONE;
        if let Some(event) = vs.event.take() {
            self.deliver(vs, event);
        }
        Ok(())
    }

    /// Every guest has a handler for every exception: it skips the instruction.
    fn deliver(&self, vs: &mut SimVs, event: Event) {
        self.machine.record(Trace::Event(event));
        if event != Event::Nmi {
            vs.skip();
        }
    }

    /// Stores what the guest changed of its state.
    fn leave_guest(&mut self, vs: &mut SimVs) {
        if let Some(state) = self.cache.state() {
            vs.state.clone_from(state);
        }
    }

    fn run_guest(
        &mut self,
        vs: &mut SimVs,
        exit_page: Page<Sim>,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit {
        loop {
            self.machine.check_power();
            if self.machine.trouble.dead.load(Ordering::Relaxed) >> self.number & 1 != 0 {
                std::thread::yield_now();
                continue;
            }
            if self.is_interrupted() {
                return Exit::of(ExitClass::Kick);
            }
            if self.has_device_interrupt(vs) {
                return Exit::of(ExitClass::Interrupt);
            }
            self.take_virtual_interrupt(vs);
            if vs.deadline.is_some_and(|deadline| self.machine.tick() >= deadline) {
                return Exit::of(ExitClass::Timer);
            }
            match self.execute(vs, exit_page) {
                Flow::Again => std::thread::yield_now(),
                Flow::Next(instruction) => vs.instruction_pointer = instruction,
                Flow::Exit(exit) if self.answer_declared(vs, &exit, exit_page, policy, guest) => {
                    *declared += 1
                }
                Flow::Exit(exit) => return exit,
            }
            if vs.step {
                return Exit::of(ExitClass::Reserved);
            }
        }
    }

    /// The root VM takes an interrupt of a device's at once; for another VM it is none of its business.
    fn has_device_interrupt(&self, vs: &SimVs) -> bool {
        let id = self.hardware_id();
        if vs.is_root() {
            if self.machine.set_device_interrupt(id, false) {
                self.machine.record(Trace::Interrupt(DEVICE_INTERRUPT));
            }
            return false;
        }
        self.machine.is_device_waiting(id)
    }

    /// Every guest has a handler for every interrupt: it changes nothing.
    fn take_virtual_interrupt(&self, vs: &mut SimVs) {
        if vs.flags & INTERRUPT_FLAG != 0
            && let Some(number) = vs.interrupt.take()
        {
            self.machine.record(Trace::Interrupt(number));
        }
    }

    /// Takes an interrupt that has arrived.
    fn is_interrupted(&mut self) -> bool {
        if !self.machine.is_interrupted(self.hardware_id()) {
            return false;
        }
        self.interrupt_age += 1;
        let slow = self.machine.trouble.slow_interrupts.load(Ordering::Relaxed);
        if slow && self.interrupt_age < SLOW_INTERRUPT {
            return false;
        }
        self.interrupt_age = 0;
        self.machine.take_interrupt(self.hardware_id())
    }

    /// Gives a declared answer, if the exit asks for one.
    fn answer_declared(
        &self,
        vs: &mut SimVs,
        exit: &Exit,
        exit_page: Page<Sim>,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
    ) -> bool {
        if exit.class != ExitClass::IdRead {
            return false;
        }
        let [leaf, subleaf] = exit_page.registers_once().take([0, 1]).map(|register| register as u32);
        let Some(answer) = policy.find(leaf, subleaf) else { return false };
        if vs.advance(guest).is_err() {
            return false;
        }
        let own = Machine::id_answer(leaf, subleaf);
        Self::set_id_results(
            exit_page.writer(),
            std::array::from_fn(|i| own[i] & answer.keep[i] | answer.set[i]),
        );
        true
    }

    /// Takes note of how a program has ended.
    pub(crate) fn end_program(&self, vs: &SimVs, page: Page<Sim>) {
        let registers = page.registers_once().take(std::array::from_fn(|number| number));
        let state = RootState { instruction_pointer: vs.instruction_pointer, registers };
        self.machine.end_program(self.hardware_id(), state);
    }

    /// Puts the four results of an ID read where they belong.
    pub(crate) fn set_id_results(writer: PageWriter<Sim>, results: [u32; 4]) {
        for (number, result) in [0, 3, 1, 2].into_iter().zip(results) {
            writer.set_general(number, result.into());
        }
    }
}

impl HostCpu for SimCpu {
    type Arch = Sim;

    fn hardware_id(&self) -> u32 {
        Machine::hardware_id(self.number)
    }

    fn enter_user(&mut self, context: &mut SimUser) -> UserExit {
        context.run(self)
    }

    fn run(
        &mut self,
        vs: &mut SimVs,
        exit_page: Page<Sim>,
        policy: &IdPolicy,
        guest: &impl GuestMemory,
        declared: &mut u64,
    ) -> Exit {
        if let Err(refused) = self.enter_guest(vs) {
            return refused;
        }
        let exit = self.run_guest(vs, exit_page, policy, guest, declared);
        self.leave_guest(vs);
        exit
    }

    fn kick(&self, hardware_id: u32) {
        if self.machine.trouble.loses_kick.swap(false, Ordering::SeqCst) {
            return;
        }
        if self.machine.trouble.delays_kicks.load(Ordering::SeqCst) && hardware_id != self.hardware_id() {
            self.machine.interrupt_later(hardware_id);
        } else {
            self.machine.interrupt(hardware_id);
        }
    }

    fn take_kicks(&mut self) -> u32 {
        u32::from(self.machine.take_interrupt(self.hardware_id()))
    }

    fn park(&mut self, wake: impl Fn() -> bool) -> bool {
        self.machine.sleep(self.hardware_id(), wake);
        self.machine.take_interrupt(self.hardware_id())
    }

    /// Counts every look at it.
    fn counter(&self) -> u64 {
        self.machine.tick()
    }

    fn frequency(&self) -> Option<u64> {
        Some(FREQUENCY)
    }

    fn end_turn_after(&mut self, ticks: u64) {
        self.deadline = Some(self.machine.now().saturating_add(ticks));
    }

    fn interrupts_changed(&mut self, _: Option<&Exit>) {
        self.lets_in = true;
    }

    fn return_interrupts(&mut self) {
        if std::mem::take(&mut self.keeps) {
            self.machine.set_device_interrupt(self.hardware_id(), true);
        }
    }

    fn relax(&self) {
        self.machine.check_power();
        std::thread::yield_now();
    }

    fn read_register(&mut self, register: u64) -> Result<u64, HostFault> {
        self.machine.register(register).ok_or(HostFault)
    }

    fn write_register(&mut self, register: u64, value: u64) -> Result<(), HostFault> {
        if self.machine.set_register(register, value) { Ok(()) } else { Err(HostFault) }
    }

    fn may_read(register: u64) -> bool {
        register < DENIED_REGISTERS
    }

    fn may_write(register: u64) -> bool {
        (WRITABLE_REGISTERS..DENIED_REGISTERS).contains(&register)
    }

    fn flush_host_tlb(&mut self) {
        self.flush(HOST_TAG);
    }

    fn emulate(
        &mut self,
        vs: &mut SimVs,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: Registers<Sim>,
    ) -> bool {
        self.answer_bare(vs, exit, guest, registers)
    }

    fn can_promote(&mut self, vs: &SimVs, guest: &impl GuestMemory, _: Registers<Sim>) -> TakeBack {
        let tables = vs.state.get(register::X86_CR3).unwrap_or(0).max(0x1000);
        let willing = !self.machine.trouble.refuses_promotion.load(Ordering::Relaxed);
        if vs.event.is_some() {
            return TakeBack::Later;
        }
        TakeBack::now_if(willing && guest.read_u64(Gpa::new(tables & !7)).is_some())
    }

    fn can_turn_off(&self) -> bool {
        self.machine.trouble.turns_off.load(Ordering::Relaxed)
    }

    fn forward(&mut self, event: ProcessorEvent) {
        self.machine.forward(event);
    }

    fn start_cold(&self, hardware_id: u32) -> bool {
        self.machine.start_cold(hardware_id)
    }

    fn start_again(&self, hardware_id: u32) {
        self.machine.call_cold(hardware_id);
    }

    fn reset_machine(&mut self) {
        self.machine.lose_power(PowerLoss::Reset);
        wait_until(self.machine, "the restart", || false);
    }
}

/// Delivers an exception to a VS in place of its instruction.
pub(crate) fn raise(vs: &mut SimVs, vector: u8) {
    vs.inject(Event::Exception { vector, error_code: Some(0) });
}

/// Where a field of the exit page lies.
pub const EXIT_NUMBER: u64 = offset_of!(ExitPage, number) as u64;
