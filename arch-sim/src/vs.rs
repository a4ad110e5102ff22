//! A VS on the simulated hardware.

use std::mem::offset_of;
use std::ops::Range;
use std::sync::atomic::Ordering;

use plinth_extension_api::abi::{ExitPage, register};
use plinth_hal::{
    BadInstruction, BadRegister, Event, Exit, FrameSource, Gpa, GuestAccess, GuestMemory, Gva, OutOfFrames,
    PageWriter, PhysicalMemory, ProcessorEvent, Registers, Spa, Target, UnknownTables, VsHw,
};

use crate::cpu::raise;
use crate::isa::{Op, SIZE};
use crate::machine::{CONTROL_PAGE, Memory};
use crate::mmu::Space;
use crate::state::{Marks, State};
use crate::vm::{Maps, SimVm};
use crate::{RootState, Sim};

/// One VS. Its general registers are in a frame of the pool while it is not active.
pub struct SimVs {
    memory: Memory,
    frame: Spa,
    /// Tells it from every other VS that ever was.
    pub(crate) serial: u64,
    pub(crate) space: Space,
    pub(crate) maps: Maps,
    /// Address of the next instruction. Loaded and stored at every run.
    pub instruction_pointer: u64,
    /// Privilege level in bits 1:0, and [`INTERRUPT_FLAG`]. Loaded and stored at every run.
    pub flags: u64,
    pub(crate) state: State,
    pub(crate) marks: Marks,
    pub(crate) flush: bool,
    pub(crate) event: Option<Event>,
    /// The interrupt that waits for [`INTERRUPT_FLAG`].
    pub(crate) interrupt: Option<u8>,
    pub(crate) step: bool,
    pub(crate) deadline: Option<u64>,
    /// What was uncached before its last change.
    pub(crate) uncached_before: Range<u64>,
}

/// In [`SimVs::flags`]: interrupts are let in.
pub const INTERRUPT_FLAG: u64 = 1 << 9;

/// What the guest wrote to the control page: command in bits 63:56, target id in 55:32, entry in 31:0.
mod command {
    pub(super) const DEVICE: u64 = 0;
    pub(super) const RESET: u64 = 1;
    pub(super) const START: u64 = 2;
    pub(super) const CHANGE_MODE: u64 = 3;
    pub(super) const OTHERS: u64 = 0xFF_FFFF;
    pub(super) const ALL: u64 = 0xFF_FFFE;
}

/// The instruction that resets a processor, by its id.
pub const fn reset(id: u32) -> Op {
    Op::Store { address: CONTROL_PAGE, value: command::RESET << 56 | (id as u64) << 32 }
}

/// The instruction that puts its processor's part of the interrupt controller into another mode: it hears no kick meanwhile.
pub const fn change_mode() -> Op {
    Op::Store { address: CONTROL_PAGE, value: command::CHANGE_MODE << 56 }
}

/// The instruction that resets every processor but its own.
pub const fn reset_others() -> Op {
    Op::Store { address: CONTROL_PAGE, value: command::RESET << 56 | command::OTHERS << 32 }
}

/// The instruction that starts every processor that waits, its own included.
pub const fn start_all(entry: u32) -> Op {
    Op::Store { address: CONTROL_PAGE, value: command::START << 56 | command::ALL << 32 | entry as u64 }
}

/// The instruction that starts a processor at `entry`.
pub const fn start(id: u32, entry: u32) -> Op {
    Op::Store { address: CONTROL_PAGE, value: command::START << 56 | (id as u64) << 32 | entry as u64 }
}

impl SimVs {
    /// The instruction at its next address, as the kernel reads it.
    pub(crate) fn instruction(&self, guest: &impl GuestMemory) -> Option<Op> {
        let mut words = [0; 4];
        for (index, word) in words.iter_mut().enumerate() {
            *word = guest.read_u64(Gpa::new(self.instruction_pointer.wrapping_add(index as u64 * 8)))?;
        }
        Op::decode(words)
    }

    /// Whether it is the root VM's, whose interrupts are the machine's.
    pub(crate) fn is_root(&self) -> bool {
        const ROOT_TAG: u16 = 1;
        self.space.tag == ROOT_TAG
    }

    pub(crate) fn skip(&mut self) {
        self.instruction_pointer = self.instruction_pointer.wrapping_add(SIZE);
    }

    fn control_write(&self, value: u64) -> Result<ProcessorEvent, BadInstruction> {
        let target = match value >> 32 & 0xFF_FFFF {
            command::OTHERS => Target::Others,
            command::ALL => Target::All,
            id => Target::Id(id as u32),
        };
        match value >> 56 {
            command::DEVICE => {
                self.memory.0.write_device(value);
                Ok(ProcessorEvent::Done)
            }
            command::CHANGE_MODE => Ok(ProcessorEvent::KickLost),
            command::RESET => Ok(ProcessorEvent::Reset(target)),
            command::START => Ok(ProcessorEvent::Start { target, entry: value & 0xFFFF_FFFF }),
            _ => Err(BadInstruction),
        }
    }
}

impl VsHw for SimVs {
    type Arch = Sim;

    fn create(memory: Memory, frames: &mut impl FrameSource, vm: &SimVm) -> Result<Self, OutOfFrames> {
        Ok(Self {
            memory,
            frame: frames.allocate(1)?,
            serial: memory.0.next_state(),
            space: vm.space,
            maps: vm.maps,
            instruction_pointer: 0,
            flags: 0,
            state: State::reset(),
            marks: Marks::ALL,
            flush: false,
            event: None,
            interrupt: None,
            step: false,
            deadline: None,
            uncached_before: 0..0,
        })
    }

    fn destroy(self, frames: &mut impl FrameSource) {
        frames.free(self.frame, 1);
    }

    fn init_root(&mut self, root: &RootState, exit_page: PageWriter<Sim>) {
        self.instruction_pointer = root.instruction_pointer;
        exit_page.set_all(|number| root.registers[number]);
    }

    fn describe(&self, exit: &Exit, exit_page: PageWriter<Sim>) {
        let write = |offset, value| exit_page.set_field(offset, value);
        write(offset_of!(ExitPage, code), exit.class as u64);
        write(offset_of!(ExitPage, instruction_pointer), self.instruction_pointer);
        write(offset_of!(ExitPage, flags), self.flags);
        write(offset_of!(ExitPage, privilege), self.flags & 3);
        write(offset_of!(ExitPage, number), exit.number);
        write(offset_of!(ExitPage, detail), exit.detail);
    }

    fn advance(&mut self, guest: &impl GuestMemory) -> Result<(), BadInstruction> {
        self.instruction(guest).filter(|op| op.exits()).ok_or(BadInstruction)?;
        self.skip();
        Ok(())
    }

    fn inject(&mut self, event: Event) {
        self.event = Some(event);
    }

    fn interrupt(&mut self, number: u8) -> bool {
        let free = self.interrupt.is_none();
        self.interrupt.get_or_insert(number);
        free
    }

    fn withdraw(&mut self, number: u8) {
        self.interrupt = self.interrupt.filter(|waiting| *waiting != number);
    }

    fn read(&self, number: u64) -> Result<u64, BadRegister> {
        match number {
            register::INSTRUCTION_POINTER => Ok(self.instruction_pointer),
            register::FLAGS => Ok(self.flags),
            _ => self.state.get(number).ok_or(BadRegister),
        }
    }

    fn write(&mut self, number: u64, value: u64) -> Result<(), BadRegister> {
        match number {
            register::INSTRUCTION_POINTER => self.instruction_pointer = value & !7,
            register::FLAGS => self.flags = value,
            _ => {
                let group = self.state.set(number, value).ok_or(BadRegister)?;
                if !self.memory.0.trouble.ignores_marks.load(Ordering::Relaxed) {
                    self.marks.mark(group);
                }
            }
        }
        Ok(())
    }

    fn flush_tlb(&mut self) {
        self.flush = true;
    }

    /// Guests have no tables of their own.
    fn translate(
        &self,
        gva: Gva,
        _access: GuestAccess,
        _guest: &impl GuestMemory,
    ) -> Result<Option<Gpa>, UnknownTables> {
        Ok(Some(Gpa::new(gva.raw())))
    }

    fn set_nested_root(&mut self, root: Spa) {
        self.space.root = root;
        self.flush = true;
    }

    fn leave_pp(&mut self) {
        self.flush = true;
    }

    fn processor_control(
        &mut self,
        _exit: &Exit,
        guest: &impl GuestMemory,
        _: Registers<Sim>,
    ) -> Result<ProcessorEvent, BadInstruction> {
        let Some(Op::Store { value, .. }) = self.instruction(guest) else { return Err(BadInstruction) };
        let event = self.control_write(value)?;
        self.skip();
        Ok(event)
    }

    fn refuse_memory_types(&mut self) {
        self.memory.0.set_uncached(self.uncached_before.clone());
        raise(self, 13);
    }

    fn reset(&mut self, page: PageWriter<Sim>) {
        page.set_all(|_| 0);
        (self.state, self.marks) = (State::reset(), Marks::ALL);
        (self.flags, self.event, self.interrupt, self.step) = (0, None, None, false);
    }

    fn start(&mut self, entry: u64, _: PageWriter<Sim>) {
        self.instruction_pointer = entry & !7;
    }

    fn single_step(&mut self, on: bool) {
        self.step = on;
    }

    fn set_deadline(&mut self, deadline: Option<u64>) {
        self.deadline = deadline;
    }

    fn registers_at(&self) -> Spa {
        self.frame
    }

    fn save_registers(&mut self, memory: &impl PhysicalMemory, registers: Registers<Sim>) {
        registers.copy_to(memory, self.frame);
    }

    fn load_registers(&self, memory: &impl PhysicalMemory, exit_page: PageWriter<Sim>) {
        exit_page.copy_from(memory, self.frame);
    }
}
