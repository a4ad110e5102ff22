//! Exits answered as the bare machine would: what the kernel does for the root VM once the extension is gone.

use plinth_extension_api::abi::MemoryAccess;
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, VsHw};

use crate::exit_registers::{ExitRegisters, set_result};
use crate::inject::EXTERNAL_ABORT;
use crate::syndrome::class;
use crate::vs::El2Vs;
use crate::write_traps;

/// Answers an exit. Returns false for one that it does not know.
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

/// What an access finds where nothing is: a synchronous external abort.
fn nothing_there(exit: &Exit) -> Event {
    const WRITE: u32 = 1 << 6;
    let access = MemoryAccess::from_bits_truncate(exit.detail);
    let fetch = access.contains(MemoryAccess::EXECUTE);
    let vector = if fetch { class::INSTRUCTION_ABORT } else { class::DATA_ABORT } as u8;
    let write = if access.contains(MemoryAccess::WRITE) && !fetch { WRITE } else { 0 };
    Event::Exception { vector, error_code: Some(EXTERNAL_ABORT as u32 | write) }
}
