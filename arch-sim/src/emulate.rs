//! The bare machine's answers, for when the extension is gone.

use plinth_hal::{Event, Exit, ExitClass, GuestMemory, PageWriter, Registers, VsHw};

use crate::Sim;
use crate::cpu::{SimCpu, raise};
use crate::isa::Op;
use crate::machine::{FEATURE_LEAF, Machine, VIRTUALIZATION};
use crate::vs::SimVs;

impl SimCpu {
    /// Answers an exit as the bare machine would, without its virtualization extension. Returns whether it
    /// knows the exit.
    pub(crate) fn answer_bare(
        &mut self,
        vs: &mut SimVs,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: Registers<Sim>,
    ) -> bool {
        match exit.class {
            ExitClass::IdRead => {
                let writer = registers.writer();
                Self::set_id_results(writer, Self::bare_id(registers));
            }
            ExitClass::RegisterRead => return self.bare_register_read(vs, exit, registers.writer()),
            ExitClass::RegisterWrite => return self.bare_register_write(vs, exit, guest),
            ExitClass::PortRead => registers.writer().set_general(0, self.machine.port(exit.number)),
            ExitClass::PortWrite => self.bare_port_write(vs, exit, guest),
            ExitClass::Virtualization => {
                vs.inject(Event::Undefined);
                return true;
            }
            _ => return false,
        }
        vs.skip();
        true
    }

    fn bare_id(registers: Registers<Sim>) -> [u32; 4] {
        let [leaf, subleaf] = registers.take([0, 1]).map(|register| register as u32);
        let mut answer = Machine::id_answer(leaf, subleaf);
        if leaf == FEATURE_LEAF {
            answer[0] &= !VIRTUALIZATION;
        }
        answer
    }

    fn bare_register_read(&self, vs: &mut SimVs, exit: &Exit, writer: PageWriter<Sim>) -> bool {
        let Some(value) = self.machine.register(exit.number) else {
            raise(vs, 13);
            return true;
        };
        writer.set_general(0, value);
        vs.skip();
        true
    }

    fn bare_register_write(&self, vs: &mut SimVs, exit: &Exit, guest: &impl GuestMemory) -> bool {
        let Some(Op::RegisterWrite { value, .. }) = vs.instruction(guest) else { return false };
        match self.machine.set_register(exit.number, value) {
            true => vs.skip(),
            false => raise(vs, 13),
        }
        true
    }

    fn bare_port_write(&self, vs: &SimVs, exit: &Exit, guest: &impl GuestMemory) {
        if let Some(Op::PortWrite { value, .. }) = vs.instruction(guest) {
            self.machine.set_port(exit.number, value);
        }
    }
}
