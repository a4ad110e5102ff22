//! The guest's accesses to its local APIC's command register, and to the APIC's base.

use plinth_hal::{BadInstruction, GuestMemory, ProcessorEvent};

use crate::apic::{LocalApic, lvt};
use crate::decode::{LONGEST_INSTRUCTION, MmioAccess, Operation, Width, decode_mmio};
use crate::exit_registers::ExitRegisters;
use crate::msr;
use crate::stopped_guest::{StoppedGuest, fetch};

/// The value must not be written: the guest gets #GP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

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
    (owns(place) && place != COMMAND) || place & 0xFF0 == lvt::LINT0
}

/// Carries out the guest's write of `value` to an MSR that the kernel [owns].
///
/// # Errors
/// [`Refused`].
pub fn write_msr(register: u32, value: u64) -> Result<ProcessorEvent, Refused> {
    match register {
        msr::index::X2APIC_ICR => Ok(LocalApic::current().guest_command(value)),
        // SAFETY: the APIC is the guest's: it may listen to what it will.
        msr::index::X2APIC_LINT0 => match unsafe { msr::write_guarded(register, value) } {
            Ok(()) => Ok(ProcessorEvent::Done),
            Err(_) => Err(Refused),
        },
        _ if write_apic_base(value) => Ok(ProcessorEvent::Done),
        _ => Err(Refused),
    }
}

/// The guest may switch its APIC's mode, but not move the page that the kernel watches. Returns whether
/// the write was done.
fn write_apic_base(value: u64) -> bool {
    const BASE: u64 = 0x000F_FFFF_FFFF_F000;
    // SAFETY: every x86-64 processor has it.
    let current = unsafe { msr::read(msr::index::APIC_BASE) };
    if (value ^ current) & BASE != 0 {
        log::warn!("the root VM wants its local APIC at {:#x}; it stays where it is", value & BASE);
        return false;
    }
    // SAFETY: the APIC is the guest's; its page stays, and the kernel asks for the mode at each use.
    unsafe { msr::write_guarded(msr::index::APIC_BASE, value) }.is_ok()
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
    let access = decode_mmio(stopped.code_size(), &bytes[..fetched]).map_err(|_| BadInstruction)?;
    if access.width != Width::Double || !access.writes() {
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
    let apic = LocalApic::current();
    let writer = registers.writer();
    let read = |number: u8| {
        let [value] = registers.take([usize::from(number)]);
        value
    };
    match access.operation {
        Operation::Store(source) => apic.guest_write(offset, source.value(read) as u32),
        Operation::Exchange(register) => {
            let old = u64::from(apic.read(offset));
            let whole = read(register.number);
            writer.set_general(usize::from(register.number), register.write(whole, old));
            apic.guest_write(offset, register.read(whole) as u32)
        }
        Operation::Modify { operator, source } => {
            let outcome = operator.apply(access.width, u64::from(apic.read(offset)), source.value(read));
            let flags = outcome.update(stopped.flags());
            stopped.set_flags(flags);
            apic.guest_write(offset, outcome.value as u32)
        }
        Operation::Load { .. } => ProcessorEvent::Done,
    }
}
