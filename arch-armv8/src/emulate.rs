//! Emulates the bare machine: answers the root VM's exits after the extension is gone.

use plinth_extension_api::abi::MemoryAccess;
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, VsHw};

use crate::exit_registers::{ExitRegisters, set_result};
use crate::inject::EXTERNAL_ABORT;
use crate::syndrome::class;
use crate::vs::El2Vs;
use crate::write_traps;

/// Emulates the instruction. Returns false for an exit that has no emulation.
pub(crate) fn as_bare_machine(
    vs: &mut El2Vs,
    exit: &Exit,
    guest: &impl GuestMemory,
    registers: ExitRegisters,
) -> bool {
    match exit.class {
        ExitClass::IdRead => {
            set_result(registers.writer(), exit.detail, vs.native());
            vs.advance(guest).is_ok()
        }
        ExitClass::RegisterWrite if write_traps::bit(exit.number).is_some() => {
            vs.write_register(exit, registers)
        }
        ExitClass::RegisterRead
        | ExitClass::RegisterWrite
        | ExitClass::Hypercall
        | ExitClass::Virtualization => {
            vs.inject(Event::Undefined);
            true
        }
        ExitClass::Memory => {
            vs.inject(nothing_there(exit));
            true
        }
        _ => false,
    }
}

/// Injects a synchronous external abort: no device answers at the address.
fn nothing_there(exit: &Exit) -> Event {
    const WRITE: u32 = 1 << 6;
    let access = MemoryAccess::from_bits_truncate(exit.detail);
    let fetch = access.contains(MemoryAccess::EXECUTE);
    let vector = if fetch { class::INSTRUCTION_ABORT } else { class::DATA_ABORT } as u8;
    let write = if access.contains(MemoryAccess::WRITE) && !fetch { WRITE } else { 0 };
    Event::Exception { vector, error_code: Some(EXTERNAL_ABORT as u32 | write) }
}
