//! The root VM's trapped writes to the redistributors' SGI and PPI frames ([`redistributors`]).
//!
//! The exit has already restored the controller to the root VM's configuration, and the next entry arms the timer again if a
//! deadline is set. So that entry also sees what the write has changed, such as the interrupt group in use.

use core::sync::atomic::{AtomicBool, Ordering};

use aarch64_cpu::registers::{FAR_EL2, Readable};
use plinth_extension_api::abi::MemoryAccess;
use plinth_hal::{Event, Exit, ExitClass, Gpa, GuestMemory, Spa, VsHw};

use super::El2Cpu;
use crate::exit_registers::ExitPage;
use crate::inject::EXTERNAL_ABORT;
use crate::store::{Base, Store};
use crate::syndrome::class;
use crate::vs::El2Vs;
use crate::{exit, gic::redistributors};

/// The number of XZR as what is stored.
const ZERO: usize = 31;
const PAGE: u64 = 0xFFF;

impl El2Cpu {
    /// Carries out a write to a redistributor. Returns false for any other exit.
    pub(super) fn serve_redistributor(
        &self,
        vs: &mut El2Vs,
        exit: &Exit,
        exit_page: ExitPage,
        guest: &impl GuestMemory,
    ) -> bool {
        let is_write = exit.class == ExitClass::Memory && exit.detail == MemoryAccess::WRITE.bits();
        if !is_write || !vs.is_root() || !redistributors::holds(Spa::new(exit.number)) {
            return false;
        }
        let carried_out = match store_of(vs, guest) {
            Fetched::Store(store) => carry_out(vs, exit.number, store, exit_page).is_some(),
            Fetched::Other => false,
            Fetched::Changing => return true,
        };
        // The architecture allows a bus to abort an access of an unsupported form.
        if carried_out {
            vs.skip()
        } else {
            refuse(vs, exit)
        }
        true
    }
}

/// The instruction that was trapped.
enum Fetched {
    Store(Store),
    /// No store that is known.
    Other,
    /// The guest has changed the translation of the instruction meanwhile: it executes the instruction again.
    Changing,
}

fn store_of(vs: &El2Vs, guest: &impl GuestMemory) -> Fetched {
    if let Some(store) = Store::described(vs.syndrome()) {
        return Fetched::Store(store);
    }
    let place = vs.entry();
    if place.pstate.is_32() {
        return Fetched::Other;
    }
    let Some(at) = exit::read_translation(place.pc) else { return Fetched::Changing };
    let word = guest.read_u64(Gpa::new(at & !7)).unwrap_or(0);
    Store::decoded((word >> ((at & 4) * 8)) as u32).map_or(Fetched::Other, Fetched::Store)
}

/// Writes what is stored, in order. `None` where it does not lie in the page of the trapped access, each register on an address
/// that is a multiple of its size, or nothing answers.
fn carry_out(vs: &El2Vs, at: u64, store: Store, exit_page: ExitPage) -> Option<()> {
    let [first, second] = store.registers.map(|register| register.unwrap_or(ZERO));
    let base = store.base.unwrap_or(Base { register: ZERO, offset: 0, step: 0 });
    let [one, other, address] = exit_page.registers_once().take([first, second, base.register]);
    let offset = match store.base {
        None => at & PAGE,
        Some(base) => {
            let start = address.wrapping_add(base.offset);
            // The processor names any byte of the access; a tag is no part of the address.
            const ADDRESS: u64 = 0x00FF_FFFF_FFFF_F000;
            ((start ^ FAR_EL2.get()) & ADDRESS == 0).then_some(start & PAGE)?
        }
    };
    let count = store.registers.iter().flatten().count() as u64;
    if !offset.is_multiple_of(store.size)
        || offset.saturating_add(store.size.saturating_mul(count)) > PAGE + 1
    {
        return None;
    }
    let value = |register, value: u64| if register == ZERO { 0 } else { value };
    let values = [value(first, one), value(second, other)];
    for (index, value) in (0..count).zip(values) {
        let to = (at & !PAGE).wrapping_add(offset).wrapping_add(index.wrapping_mul(store.size));
        let unused = 64_u64.saturating_sub(store.size.saturating_mul(8)) as u32;
        let value = if vs.is_big_endian() { value.swap_bytes().unbounded_shr(unused) } else { value };
        // SAFETY: `serve_redistributor` has seen the page; aligned, says the test above.
        unsafe { redistributors::write(Spa::new(to), store.size, value) }.then_some(())?;
    }
    if base.step != 0 {
        exit_page.writer().set_general(base.register, address.wrapping_add(base.step));
    }
    Some(())
}

/// Aborts the access. Only the first one is logged.
#[cold]
fn refuse(vs: &mut El2Vs, exit: &Exit) {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if !LOGGED.swap(true, Ordering::Relaxed) {
        log::warn!(
            "pp {:#x}: the root VM writes to a redistributor at {:#x} as no register is written, at {:#x}; that is aborted, \
             and more are not logged",
            crate::mpidr::own_hardware_id(),
            exit.number,
            vs.entry().pc
        );
    }
    const WRITE: u32 = 1 << 6;
    let error_code = Some(EXTERNAL_ABORT as u32 | WRITE);
    vs.inject(Event::Exception { vector: class::DATA_ABORT as u8, error_code });
}
