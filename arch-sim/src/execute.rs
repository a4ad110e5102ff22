//! What a processor does with one instruction of a guest.

use plinth_extension_api::abi::{MemoryAccess, register};
use plinth_hal::page_table::Permissions;
use plinth_hal::{Event, Exit, ExitClass, MEMORY_TYPES, PAGE_SIZE, Page, Spa};

use crate::Sim;
use crate::cpu::SimCpu;
use crate::isa::{Op, SIZE};
use crate::machine::{CONTROL_PAGE, Trace};
use crate::mmu::ROOT_TAG;
use crate::vs::{INTERRUPT_FLAG, SimVs};

/// What follows an instruction.
pub(crate) enum Flow {
    /// The instruction at this address.
    Next(u64),
    /// The same once more.
    Again,
    /// The kernel.
    Exit(Exit),
}

impl From<Exit> for Flow {
    fn from(exit: Exit) -> Self {
        Self::Exit(exit)
    }
}

fn numbered(class: ExitClass, number: u64, detail: u64) -> Flow {
    Flow::Exit(Exit { class, number, detail })
}

impl SimCpu {
    /// Executes the VS's next instruction.
    pub(crate) fn execute(&mut self, vs: &mut SimVs, registers: Page<Sim>) -> Flow {
        match self.fetch(vs) {
            Ok(Some(op)) => self.perform(op, vs, registers).unwrap_or_else(Flow::Exit),
            Ok(None) => Exit::of(ExitClass::Shutdown).into(),
            Err(exit) => exit.into(),
        }
    }

    fn fetch(&mut self, vs: &SimVs) -> Result<Option<Op>, Exit> {
        let at = vs.instruction_pointer & !7;
        let mut words = [0; 4];
        for (index, word) in words.iter_mut().enumerate() {
            let spa = self.reach(vs, at.wrapping_add(index as u64 * 8), Permissions::EXECUTE)?;
            *word = self.machine.ram.load(spa);
        }
        Ok(Op::decode(words))
    }

    fn perform(&mut self, op: Op, vs: &mut SimVs, registers: Page<Sim>) -> Result<Flow, Exit> {
        let next = Flow::Next(vs.instruction_pointer.wrapping_add(SIZE));
        Ok(match op {
            Op::Set { register, value } => {
                self.finish(next, || registers.writer().set_general(register as usize, value))
            }
            Op::Report { register } => {
                let [value] = registers.registers_once().take([register as usize]);
                self.finish(next, || self.machine.record(Trace::Value(value)))
            }
            Op::ReportState { register } => {
                self.report_state(register);
                next
            }
            Op::SetTables { address } => {
                self.set_state(register::X86_CR3, address);
                next
            }
            Op::Privilege { level } => {
                vs.flags = vs.flags & !3 | level;
                next
            }
            Op::Jump { address } => Flow::Next(address),
            Op::RaiseNmi => {
                self.finish(next, || self.machine.interrupt(plinth_hal::HostCpu::hardware_id(self)))
            }
            Op::RaiseInterrupt => {
                let id = plinth_hal::HostCpu::hardware_id(self);
                self.finish(next, || {
                    self.machine.set_device_interrupt(id, true);
                })
            }
            Op::AllowInterrupts { on } => {
                vs.flags = vs.flags & !INTERRUPT_FLAG | if on != 0 { INTERRUPT_FLAG } else { 0 };
                next
            }
            Op::Done => {
                self.end_program(vs, registers);
                Flow::Again
            }
            Op::Wait if vs.is_root() => next,
            Op::Wait => Exit::of(ExitClass::Wait).into(),
            Op::Load { address } => {
                let value = self.load(vs, address)?;
                self.finish(next, || registers.writer().set_general(0, value))
            }
            Op::Await { address, value } => match self.load(vs, address)? == value {
                true => next,
                false => Flow::Again,
            },
            Op::Store { address, value } => {
                self.store(vs, address, value)?;
                next
            }
            Op::RegisterRead { .. } | Op::RegisterWrite { .. } => {
                self.access_register(op, vs, registers, next)
            }
            Op::PortRead { .. } | Op::PortWrite { .. } => self.access_port(op, vs, registers, next),
            Op::Cache => {
                vs.skip();
                Exit::of(ExitClass::Cache).into()
            }
            Op::SetUncached { start, size } if vs.space.tag == ROOT_TAG => {
                vs.uncached_before = self.machine.set_uncached(start..start.saturating_add(size));
                numbered(ExitClass::Cache, 0, MEMORY_TYPES)
            }
            Op::SetUncached { start, size } => numbered(ExitClass::Other, start, size),
            Op::ReportType { address } => {
                let kind = self.tlb.memory_type(&self.machine.ram, vs.space, address);
                self.finish(next, || {
                    self.machine.record(Trace::Value(kind.map_or(u64::MAX, |kind| kind as u64)))
                })
            }
            Op::IdRead => Exit::of(ExitClass::IdRead).into(),
            Op::Hypercall => numbered(ExitClass::Hypercall, 0, vs.flags & 3),
            Op::Virtualize => Exit::of(ExitClass::Virtualization).into(),
            Op::Odd { code } => numbered(ExitClass::Other, code, 0),
            Op::Shutdown => Exit::of(ExitClass::Shutdown).into(),
        })
    }

    fn finish(&self, next: Flow, effect: impl FnOnce()) -> Flow {
        effect();
        next
    }

    fn report_state(&mut self, register: u64) {
        let value = self.cache.state().and_then(|state| state.get(register));
        self.machine.record(Trace::Value(value.unwrap_or(u64::MAX)));
    }

    fn set_state(&mut self, register: u64, value: u64) {
        if let Some(state) = self.cache.state() {
            state.set(register, value);
        }
    }

    fn access_register(&mut self, op: Op, vs: &SimVs, registers: Page<Sim>, next: Flow) -> Flow {
        let (register, written) = match op {
            Op::RegisterWrite { register, value } => (register, Some(value)),
            Op::RegisterRead { register } => (register, None),
            _ => return next,
        };
        if vs.maps.intercepts_register(register, written.is_some()) {
            let class = if written.is_some() { ExitClass::RegisterWrite } else { ExitClass::RegisterRead };
            return numbered(class, register, 0);
        }
        match written {
            Some(value) if self.machine.set_register(register, value) => {}
            None if self.machine.register(register).is_some() => {
                registers.writer().set_general(0, self.machine.register(register).unwrap_or(0));
            }
            _ => self.machine.record(Trace::Event(Event::Exception { vector: 13, error_code: Some(0) })),
        }
        next
    }

    fn access_port(&mut self, op: Op, vs: &SimVs, registers: Page<Sim>, next: Flow) -> Flow {
        match op {
            Op::PortRead { port } if vs.maps.intercepts_port(port as u16) => {
                numbered(ExitClass::PortRead, port & 0xffff, 1)
            }
            Op::PortWrite { port, .. } if vs.maps.intercepts_port(port as u16) => {
                numbered(ExitClass::PortWrite, port & 0xffff, 1)
            }
            Op::PortRead { port } => self.finish(next, || {
                registers.writer().set_general(0, self.machine.port(port & 0xffff));
            }),
            Op::PortWrite { port, value } => {
                self.finish(next, || self.machine.set_port(port & 0xffff, value))
            }
            _ => next,
        }
    }

    fn load(&mut self, vs: &SimVs, address: u64) -> Result<u64, Exit> {
        let bytes = self.reach_bytes(vs, address, Permissions::READ)?;
        if address.is_multiple_of(8) {
            return Ok(self.machine.ram.load(bytes[0]));
        }
        let mut value = [0; 8];
        for (spa, byte) in bytes.into_iter().zip(&mut value) {
            self.machine.ram.load_bytes(spa, std::slice::from_mut(byte));
        }
        Ok(u64::from_le_bytes(value))
    }

    fn store(&mut self, vs: &SimVs, address: u64, value: u64) -> Result<(), Exit> {
        let bytes = self.reach_bytes(vs, address, Permissions::READ | Permissions::WRITE)?;
        if address.is_multiple_of(8) {
            self.machine.ram.store(bytes[0], value);
            return Ok(());
        }
        for (spa, byte) in bytes.into_iter().zip(value.to_le_bytes()) {
            self.machine.ram.store_bytes(spa, &[byte]);
        }
        Ok(())
    }

    /// Where each of the eight bytes from `address` on is: they may straddle two pages.
    fn reach_bytes(&mut self, vs: &SimVs, address: u64, wanted: Permissions) -> Result<[Spa; 8], Exit> {
        let mut bytes = [Spa::new(0); 8];
        for (offset, spa) in (0..).zip(&mut bytes) {
            *spa = self.reach(vs, address.wrapping_add(offset), wanted)?;
        }
        Ok(bytes)
    }

    fn reach(&mut self, vs: &SimVs, address: u64, wanted: Permissions) -> Result<Spa, Exit> {
        let reached = self.tlb.translate(&self.machine.ram, vs.space, address, wanted);
        reached.map_err(|_| refused(address, wanted))
    }
}

/// The exit for an access that nested paging refuses. The control page's writes are told apart, as the
/// backends tell an interrupt controller's.
fn refused(address: u64, wanted: Permissions) -> Exit {
    let access = match wanted {
        wanted if wanted.contains(Permissions::EXECUTE) => MemoryAccess::EXECUTE,
        wanted if wanted.contains(Permissions::WRITE) => MemoryAccess::WRITE,
        _ => MemoryAccess::empty(),
    };
    let control = access == MemoryAccess::WRITE && address & !(PAGE_SIZE - 1) == CONTROL_PAGE;
    let class = if control { ExitClass::Processor } else { ExitClass::Memory };
    Exit { class, number: address, detail: access.bits() }
}
