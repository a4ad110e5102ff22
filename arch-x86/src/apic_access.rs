//! The guest's accesses to its local APIC's command register, and to the APIC's base.

use plinth_hal::{BadInstruction, GuestMemory, ProcessorEvent};

pub use crate::apic::{GuestApic, Refused};
use crate::apic::{LocalApic, Register};
use crate::decode::{LONGEST_INSTRUCTION, MmioAccess, Operation, decode_mmio};
use crate::exit_registers::ExitRegisters;
use crate::msr;
use crate::stopped_guest::{StoppedGuest, fetch};

/// Whether the kernel carries out the root VM's writes of an MSR: of the APIC's base and, in x2APIC mode, of what starts
/// processors and of what listens to the old interrupt controller.
pub const fn owns(register: u64) -> bool {
    const BASE: u64 = msr::index::APIC_BASE as u64;
    const COMMAND: u64 = msr::index::X2APIC_ICR as u64;
    const LINT0: u64 = msr::index::X2APIC_LINT0 as u64;
    matches!(register, BASE | COMMAND | LINT0)
}

/// Whether interrupts may come in another way to the processor after such a write, or one to the APIC's page at that address.
pub const fn changes_interrupts(place: u64) -> bool {
    const COMMAND: u64 = msr::index::X2APIC_ICR as u64;
    (owns(place) && place != COMMAND) || place & 0xFFF == Register::LINT0.offset()
}

/// Carries out the guest's write of `value` to an MSR that the kernel [owns].
///
/// # Errors
/// [`Refused`].
pub fn write_msr(guest: &mut GuestApic, register: u32, value: u64) -> Result<ProcessorEvent, Refused> {
    match register {
        msr::index::APIC_BASE => LocalApic::current().guest_write_base(guest, value),
        _ => LocalApic::current().guest_write_msr(register, value),
    }
}

/// Carries out the guest's write to the APIC's page at `address`, and skips the instruction.
///
/// # Errors
/// [`BadInstruction`] for an access that cannot be understood; nothing changed.
pub fn write_page(
    stopped: &mut impl StoppedGuest,
    address: u64,
    guest: &impl GuestMemory,
    registers: ExitRegisters,
) -> Result<ProcessorEvent, BadInstruction> {
    let mut bytes = [0; LONGEST_INSTRUCTION + 1];
    let fetched = fetch(stopped, guest, &mut bytes);
    let access = decode_mmio(stopped.code_size(), fetched).map_err(|_| BadInstruction)?;
    if !access.writes() {
        return Err(BadInstruction);
    }
    let event = carry_out(stopped, &access, address & 0xFFF, registers);
    let next = stopped.instruction_pointer().wrapping_add(u64::from(access.length));
    stopped.set_next(next);
    Ok(event)
}

fn carry_out(
    stopped: &mut impl StoppedGuest,
    access: &MmioAccess,
    offset: u64,
    registers: ExitRegisters,
) -> ProcessorEvent {
    let (apic, width) = (LocalApic::current(), access.width);
    let writer = registers.writer();
    let read = |number: u8| {
        let [value] = registers.take([usize::from(number)]);
        value
    };
    match access.operation {
        Operation::Store(source) => apic.guest_write(offset, width, source.value(read) as u32),
        Operation::Exchange(register) => {
            let old = u64::from(apic.guest_read(offset, width));
            let whole = read(register.number);
            writer.set_general(usize::from(register.number), register.write(whole, old));
            apic.guest_write(offset, width, register.read(whole) as u32)
        }
        Operation::Modify { operator, source } => {
            let outcome =
                operator.apply(width, u64::from(apic.guest_read(offset, width)), source.value(read));
            let flags = outcome.update(stopped.flags());
            stopped.set_flags(flags);
            apic.guest_write(offset, width, outcome.value as u32)
        }
        Operation::Load { .. } => ProcessorEvent::Done,
    }
}
