//! Exits answered as the bare machine would: what the kernel does for the root VM once the extension is gone.

use plinth_extension_api::abi::MemoryAccess;
use plinth_hal::{Event, Exit, ExitClass, GuestMemory, PhysicalMemory, Spa, VsHw};

use crate::inject::EXTERNAL_ABORT;
use crate::syndrome::class;
use crate::vs::El2Vs;
use crate::write_traps;

/// Answers an exit. Returns false for one that it does not know.
pub(crate) fn as_bare_machine(vs: &mut El2Vs, exit: &Exit, guest: &impl GuestMemory, exit_page: Spa) -> bool {
    match exit.class {
        ExitClass::IdRead => {
            write_general(vs, exit_page, exit.detail, vs.native());
            vs.advance(guest, exit_page).is_ok()
        }
        ExitClass::RegisterWrite if write_traps::bit(exit.number).is_some() => {
            vs.write_register(exit, exit_page)
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

/// Sets a general register of the guest; 31 is XZR.
#[inline]
pub(crate) fn write_general(vs: &El2Vs, exit_page: Spa, number: u64, value: u64) {
    if number < 31 {
        vs.memory().write_u64(Spa::new(exit_page.raw() + number * 8), value);
    }
}
