//! What of a guest's state carrying out an instruction needs, and its control of processors.

use plinth_arch_x86::apic_access;
use plinth_arch_x86::decode::CodeSize;
use plinth_arch_x86::exit_registers::{ExitRegisters, msr_value};
use plinth_arch_x86::guest_walk::GuestPaging;
use plinth_arch_x86::stopped_guest::StoppedGuest;
use plinth_hal::{BadInstruction, Event, Exit, GuestMemory, ProcessorEvent, VsHw};

use crate::exit::BY_MSR;
use crate::segments::{CS, SS};
use crate::vmcs::field::{
    GUEST_BASE, GUEST_CR0, GUEST_CR3, GUEST_CR4, GUEST_EFER, GUEST_RFLAGS, GUEST_RIGHTS, GUEST_RIP,
};
use crate::vs::VmxVs;

/// #GP with the error code 0.
pub(crate) const GENERAL_PROTECTION: Event = Event::Exception { vector: 13, error_code: Some(0) };

/// Carries out an exit of the class "processor control", but for what it answers.
pub(crate) fn control(
    vs: &mut VmxVs,
    exit: &Exit,
    guest: &impl GuestMemory,
    registers: ExitRegisters,
) -> Result<ProcessorEvent, BadInstruction> {
    if exit.detail != BY_MSR {
        return apic_access::write_page(vs, exit.number, guest, registers);
    }
    let Ok(event) = apic_access::write_msr(&mut vs.apic, exit.number as u32, msr_value(registers)) else {
        vs.inject(GENERAL_PROTECTION);
        return Ok(ProcessorEvent::Done);
    };
    vs.advance(guest)?;
    Ok(event)
}

/// Whether the guest runs 64-bit code.
pub(crate) fn is_64_bit(vs: &VmxVs) -> bool {
    vs.code_size() == CodeSize::Bits64
}

impl StoppedGuest for VmxVs {
    fn paging(&self) -> GuestPaging {
        self.with(|vmcs| {
            GuestPaging::from_registers(
                vmcs.read(GUEST_CR0),
                vmcs.read(GUEST_CR3),
                vmcs.read(GUEST_CR4),
                vmcs.read(GUEST_EFER),
            )
        })
    }

    fn code_size(&self) -> CodeSize {
        const LONG: u32 = 1 << 13;
        const DEFAULT_32: u32 = 1 << 14;
        const LMA: u64 = 1 << 10;
        let (rights, efer) = self.with(|vmcs| (vmcs.read(GUEST_RIGHTS.nth(CS)), vmcs.read(GUEST_EFER)));
        match rights {
            _ if efer & LMA != 0 && rights & LONG != 0 => CodeSize::Bits64,
            _ if rights & DEFAULT_32 != 0 => CodeSize::Bits32,
            _ => CodeSize::Bits16,
        }
    }

    fn instruction_pointer(&self) -> u64 {
        self.with(|vmcs| vmcs.read(GUEST_RIP))
    }

    fn code_base(&self) -> u64 {
        self.with(|vmcs| vmcs.read(GUEST_BASE.nth(CS)))
    }

    fn privilege(&self) -> u8 {
        (self.with(|vmcs| vmcs.read(GUEST_RIGHTS.nth(SS))) >> 5 & 3) as u8
    }

    fn flags(&self) -> u64 {
        self.with(|vmcs| vmcs.read(GUEST_RFLAGS))
    }

    fn set_flags(&mut self, flags: u64) {
        self.with(|vmcs| vmcs.write(GUEST_RFLAGS, flags));
        self.refresh();
    }

    fn set_next(&mut self, next: u64) {
        self.advance_to(next);
    }
}
