//! RDMSR and WRMSR that exit: the kernel answers those of the root VM by the table, unless the extension has asked to see them.

use plinth_arch_x86::apic_access::owns;
use plinth_arch_x86::exit_registers::{ExitRegisters, NumberedWrite, answer_rdmsr, msr_number};
use plinth_arch_x86::msr_access::{self, ReadAnswer, WriteAnswer};
use plinth_arch_x86::mtrr::MtrrWrite;
use plinth_hal::{Exit, ExitClass, GuestMemory, VsHw};

use crate::cpu::VmxCpu;
use crate::exit::BY_MSR;
use crate::memory_types;
use crate::msr_table::TABLE;
use crate::stopped_guest::GENERAL_PROTECTION;
use crate::vs::VmxVs;

impl VmxCpu {
    /// Serves RDMSR. Returns the exit where it is the extension's.
    pub(crate) fn read_msr(
        vs: &mut VmxVs,
        registers: ExitRegisters,
        guest: &impl GuestMemory,
    ) -> Option<Exit> {
        let writer = registers.writer();
        let register = msr_number(registers);
        if !vs.is_root || vs.maps.is_asked(register, false) {
            return Some(Exit { class: ExitClass::RegisterRead, number: u64::from(register), detail: 0 });
        }
        match msr_access::read(&TABLE, register) {
            ReadAnswer::Value(value) => {
                answer_rdmsr(writer, value);
                let _ = vs.advance(guest);
            }
            // No read of a register that a VS holds exits: the processor has the guest's.
            ReadAnswer::Saved | ReadAnswer::Fault => vs.inject(GENERAL_PROTECTION),
        }
        None
    }

    /// Serves WRMSR. Returns the exit where it is the extension's, or the kernel has to follow.
    pub(crate) fn write_msr(
        &mut self,
        vs: &mut VmxVs,
        write: NumberedWrite,
        guest: &impl GuestMemory,
    ) -> Option<Exit> {
        let (register, number) = (write.register, u64::from(write.register));
        if vs.is_root && owns(number) {
            return Some(Exit { class: ExitClass::Processor, number, detail: BY_MSR });
        }
        let kernels = vs.is_root || TABLE.guest_exits(register).writes;
        if !kernels || vs.maps.is_asked(register, true) {
            return Some(Exit { class: ExitClass::RegisterWrite, number, detail: 0 });
        }
        let done = match msr_access::write(&TABLE, register, write.value) {
            WriteAnswer::Done => true,
            WriteAnswer::Saved => self.write_system_call_register(vs, write),
            WriteAnswer::MemoryType => match MtrrWrite::new(write) {
                Some(mtrr) => return memory_types::write(vs, guest, mtrr),
                None => false,
            },
            WriteAnswer::Fault => false,
        };
        if done {
            let _ = vs.advance(guest);
        } else {
            vs.inject(GENERAL_PROTECTION);
        }
        None
    }
}
