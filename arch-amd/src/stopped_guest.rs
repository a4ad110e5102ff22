//! The guest's accesses to its local APIC's command register, and to the APIC's base; and what of its state
//! carrying out an instruction needs.

use plinth_arch_x86::apic_access;
use plinth_arch_x86::decode::CodeSize;
use plinth_arch_x86::exit_registers::{ExitRegisters, msr_value};
use plinth_arch_x86::guest_walk::GuestPaging;
use plinth_arch_x86::stopped_guest::StoppedGuest;
use plinth_hal::{BadInstruction, Event, Exit, GuestMemory, ProcessorEvent, VsHw};

use crate::next_rip;
use crate::vs::SvmVs;

/// Vector of the general-protection exception.
const GENERAL_PROTECTION: u8 = 13;

/// Carries out an exit of the class "processor control", but for what it answers.
pub(crate) fn control(
    vs: &mut SvmVs,
    exit: &Exit,
    guest: &impl GuestMemory,
    registers: ExitRegisters,
) -> Result<ProcessorEvent, BadInstruction> {
    if exit.detail != crate::exit::BY_MSR {
        return apic_access::write_page(vs, exit.number, guest, registers);
    }
    let next = next_rip::next_rip(vs, guest)?;
    let Ok(event) = apic_access::write_msr(&mut vs.apic, exit.number as u32, msr_value(registers)) else {
        vs.inject(Event::Exception { vector: GENERAL_PROTECTION, error_code: Some(0) });
        return Ok(ProcessorEvent::Done);
    };
    vs.set_next(next);
    Ok(event)
}

impl StoppedGuest for SvmVs {
    fn paging(&self) -> GuestPaging {
        let save = &self.view().save;
        GuestPaging::from_registers(save.cr0, save.cr3, save.cr4, save.efer)
    }

    fn fetched(&self) -> Option<&[u8]> {
        let control = &self.view().control;
        let assisted = self.features.decode_assists && control.fetched != 0;
        assisted.then(|| &control.instruction_bytes[..usize::from(control.fetched).min(15)])
    }

    /// The default size of operands and addresses of the code that runs.
    fn code_size(&self) -> CodeSize {
        const LONG: u16 = 1 << 9;
        const DEFAULT_32: u16 = 1 << 10;
        const EFER_LMA: u64 = 1 << 10;
        let save = &self.view().save;
        match save.cs.attributes {
            cs if save.efer & EFER_LMA != 0 && cs & LONG != 0 => CodeSize::Bits64,
            cs if cs & DEFAULT_32 != 0 => CodeSize::Bits32,
            _ => CodeSize::Bits16,
        }
    }

    fn instruction_pointer(&self) -> u64 {
        self.view().save.rip
    }

    fn code_base(&self) -> u64 {
        self.view().save.cs.base
    }

    fn privilege(&self) -> u8 {
        self.view().save.cpl
    }

    fn flags(&self) -> u64 {
        self.view().save.rflags
    }

    fn set_flags(&mut self, flags: u64) {
        self.vmcb().save.rflags = flags;
    }

    fn set_next(&mut self, next: u64) {
        self.advance_to(next);
    }
}
