//! RDMSR and WRMSR of the root VM that exit: the kernel answers them by the table, unless the extension has asked to see them.

use plinth_arch_x86::apic_access::owns;
use plinth_arch_x86::exit_registers::{ExitRegisters, NumberedWrite, answer_rdmsr, msr_number};
use plinth_arch_x86::msr_access::{self, ReadAnswer, WriteAnswer};
use plinth_arch_x86::mtrr::MtrrWrite;
use plinth_arch_x86::{efer, msr};
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, HostFault, VsHw};

use crate::exit::BY_MSR;
use crate::msr_table::TABLE;
use crate::vmcb::{EFER_SVME, clean};
use crate::vs::SvmVs;
use crate::{memory_types, next_rip};

pub(crate) const GENERAL_PROTECTION: Event = Event::Exception { vector: 13, error_code: Some(0) };

/// Serves an access. Returns the exit where that is the extension's, or the rest of the kernel's.
#[cold]
pub(crate) fn serve(vs: &mut SvmVs, registers: ExitRegisters, guest: &impl GuestMemory) -> Option<Exit> {
    let is_write = vs.view().control.exit_info[0] & 1 != 0;
    if is_write { write(vs, NumberedWrite::take(registers), guest) } else { read(vs, registers, guest) }
}

fn read(vs: &mut SvmVs, registers: ExitRegisters, guest: &impl GuestMemory) -> Option<Exit> {
    let writer = registers.writer();
    let register = msr_number(registers);
    if !vs.is_root || vs.maps.is_asked(register, false) {
        return Some(Exit { class: ExitClass::RegisterRead, number: u64::from(register), detail: 0 });
    }
    let value = match msr_access::read(&TABLE, register) {
        ReadAnswer::Value(value) => Ok(value),
        // No other one exits: the processor holds the guest's where the map lets reads pass.
        ReadAnswer::Saved if register == msr::index::EFER => Ok(vs.view().save.efer & !EFER_SVME),
        ReadAnswer::Saved | ReadAnswer::Fault => Err(HostFault),
    };
    finish(vs, guest, value.map(|value| answer_rdmsr(writer, value)));
    None
}

fn write(vs: &mut SvmVs, write: NumberedWrite, guest: &impl GuestMemory) -> Option<Exit> {
    let (register, number) = (write.register, u64::from(write.register));
    if vs.is_root && owns(number) {
        return Some(Exit { class: ExitClass::Processor, number, detail: BY_MSR });
    }
    if !vs.is_root || vs.maps.is_asked(register, true) {
        return Some(Exit { class: ExitClass::RegisterWrite, number, detail: 0 });
    }
    // What cannot be skipped must not be carried out either.
    if next_rip::next_rip(vs, guest).is_err() {
        vs.inject(Event::Undefined);
        return None;
    }
    let done = match msr_access::write(&TABLE, register, write.value) {
        WriteAnswer::Done => Ok(()),
        WriteAnswer::Saved if register == msr::index::EFER => write_efer(vs, write.value),
        WriteAnswer::MemoryType => MtrrWrite::new(write)
            .ok_or(HostFault)
            .and_then(|mtrr| memory_types::write(mtrr, vs.memory().reservation())),
        WriteAnswer::Saved | WriteAnswer::Fault => Err(HostFault),
    };
    finish(vs, guest, done);
    None
}

/// Skips the instruction, or raises #GP where the access was refused.
fn finish(vs: &mut SvmVs, guest: &impl GuestMemory, done: Result<(), HostFault>) {
    match done {
        Err(HostFault) => vs.inject(GENERAL_PROTECTION),
        Ok(()) if vs.advance(guest).is_ok() => {}
        Ok(()) => vs.inject(Event::Undefined),
    }
}

fn write_efer(vs: &mut SvmVs, value: u64) -> Result<(), HostFault> {
    const CR0_PG: u64 = 1 << 31;
    let save = &vs.view().save;
    let efer = efer::written(save.efer & !EFER_SVME, value, save.cr0 & CR0_PG != 0).ok_or(HostFault)?;
    vs.vmcb().save.efer = efer | EFER_SVME;
    vs.changed(clean::CONTROL_REGISTERS);
    Ok(())
}
