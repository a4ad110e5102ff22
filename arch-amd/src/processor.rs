//! The guest's accesses to its local APIC's command register, and to the APIC's base.

use plinth_arch_x86::apic::LocalApic;
use plinth_arch_x86::decode::{LONGEST_INSTRUCTION, MmioAccess, Operation, Width, decode_mmio};
use plinth_arch_x86::msr;
use plinth_hal::{
    BadInstruction, Event, Exit, GuestMemory, PhysicalMemory, ProcessorEvent, Spa, VsHw,
};

use crate::instruction;
use crate::vs::SvmVs;

/// Vector of the general-protection exception.
const GENERAL_PROTECTION: u8 = 13;

/// Carries out an exit of the class "processor control", but for what it answers.
pub(crate) fn control(
    vs: &mut SvmVs,
    exit: &Exit,
    guest: &impl GuestMemory,
    exit_page: Spa,
) -> Result<ProcessorEvent, BadInstruction> {
    if exit.detail == crate::exits::BY_MSR {
        let next = instruction::next_rip(vs, guest)?;
        return Ok(write_msr(vs, exit.number as u32, next, exit_page));
    }
    write_page(vs, exit.number, guest, exit_page)
}

fn write_msr(vs: &mut SvmVs, register: u32, next: u64, exit_page: Spa) -> ProcessorEvent {
    let memory = vs.memory();
    let read = |number: u64| memory.read_u64(Spa::new(exit_page.raw() + number * 8));
    let value = read(0) & 0xffff_ffff | read(2) << 32;
    let event = match register {
        msr::index::X2APIC_ICR => LocalApic::current().guest_command(value),
        _ if !write_apic_base(value) => {
            vs.inject(Event::Exception { vector: GENERAL_PROTECTION, error_code: Some(0) });
            return ProcessorEvent::Done;
        }
        _ => ProcessorEvent::Done,
    };
    vs.set_next(next);
    event
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

fn write_page(
    vs: &mut SvmVs,
    address: u64,
    guest: &impl GuestMemory,
    exit_page: Spa,
) -> Result<ProcessorEvent, BadInstruction> {
    let mode = vs.code_size();
    let mut bytes = [0; LONGEST_INSTRUCTION + 1];
    let fetched = instruction::fetch(vs.view(), mode, guest, &mut bytes);
    let access = decode_mmio(mode, &bytes[..fetched]).map_err(|_| BadInstruction)?;
    if access.width != Width::Double || !access.writes() {
        return Err(BadInstruction);
    }
    let event = carry_out(vs, &access, address & 0xFFF, exit_page);
    let next = vs.view().save.rip.wrapping_add(u64::from(access.length));
    vs.set_next(next);
    Ok(event)
}

fn carry_out(vs: &mut SvmVs, access: &MmioAccess, offset: u64, exit_page: Spa) -> ProcessorEvent {
    let apic = LocalApic::current();
    let memory = vs.memory();
    let at = |number: u8| Spa::new(exit_page.raw() + u64::from(number) * 8);
    let read = |number: u8| memory.read_u64(at(number));
    match access.operation {
        Operation::Store(source) => apic.guest_write(offset, source.value(read) as u32),
        Operation::Exchange(register) => {
            let old = u64::from(apic.read(offset));
            let whole = read(register.number);
            memory.write_u64(at(register.number), register.write(whole, old));
            apic.guest_write(offset, register.read(whole) as u32)
        }
        Operation::Modify { operator, source } => {
            let outcome = operator.apply(access.width, u64::from(apic.read(offset)), source.value(read));
            let save = &mut vs.vmcb().save;
            save.rflags = outcome.update(save.rflags);
            apic.guest_write(offset, outcome.value as u32)
        }
        Operation::Load { .. } => ProcessorEvent::Done,
    }
}
