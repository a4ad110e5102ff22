//! The machine's memory types, and the root VM's writes to the MTRRs, which change them.
//!
//! EPT does not look at the MTRRs (Intel SDM vol. 3C, "EPT and Memory Typing"), so the root VM's nested tables hold what
//! they say. A write exits, is carried out on the processor, and where memory has another type by then, the kernel brings
//! the tables up to date. Each processor is written the same, one after the other: the first one counts, and the others
//! change nothing any more. While a processor's MTRRs are off, which is how software changes them (Intel SDM vol. 3A,
//! "MTRR Considerations in MP Systems"), nothing is compared.

use core::sync::atomic::{AtomicBool, Ordering};

use plinth_arch_x86::mtrr::{MtrrWrite, Mtrrs};
use plinth_hal::page_table::MemoryType;
use plinth_hal::{Exit, ExitClass, GuestMemory, HostFault, MEMORY_TYPES, Spa, SpaRange, VsHw};
use plinth_launch::{LaunchError, LaunchStatus};
// BOUND: its holder reads or compares types, of which there are as many as registers say, and touches nothing else.
use spin::Mutex;

use crate::features::Features;
use crate::stopped_guest::GENERAL_PROTECTION;
use crate::vs::VmxVs;

/// By which the root VM's nested tables are made, and were made before the last change.
struct Types {
    now: Mtrrs,
    before: Mtrrs,
}

static TYPES: Mutex<Types> = Mutex::new(Types { now: Mtrrs::NONE, before: Mtrrs::NONE });

/// Begins with what the first processor's MTRRs are at launch.
///
/// # Errors
/// The launch is refused where they are in more pieces than the kernel can follow.
pub(crate) fn start(mtrrs: Mtrrs) -> Result<(), LaunchStatus> {
    if mtrrs.are_scattered() {
        log::error!("the firmware's memory types (MTRRs) change too often for Plinth: {mtrrs:x?}");
        return Err(LaunchStatus::failed(LaunchError::MissingFeature, 0));
    }
    *TYPES.lock() = Types { now: mtrrs, before: mtrrs };
    Ok(())
}

/// The type at an address, and to where it is certainly the same.
pub(crate) fn type_at(at: Spa) -> (MemoryType, Spa) {
    TYPES.lock().now.type_at(at)
}

/// Carries out a write of an MTRR. Returns an exit where the kernel has to follow.
pub(crate) fn write(vs: &mut VmxVs, guest: &impl GuestMemory, mtrr: MtrrWrite) -> Option<Exit> {
    match change(mtrr, vs.memory().reservation()) {
        Err(HostFault) => vs.inject(GENERAL_PROTECTION),
        Ok(None) => _ = vs.advance(guest),
        Ok(before) => {
            vs.mtrr_before = before;
            return Some(Exit { class: ExitClass::Cache, number: 0, detail: MEMORY_TYPES });
        }
    }
    None
}

/// The kernel cannot follow: the MTRR has the value again that it had before.
pub(crate) fn refuse(vs: &mut VmxVs) {
    if let Some(before) = vs.mtrr_before.take() {
        let mut types = TYPES.lock();
        // SAFETY: the hypervisor's own memory had that type until a moment ago.
        let _ = unsafe { before.carry_out() };
        types.now = types.before;
    }
    vs.inject(GENERAL_PROTECTION);
}

/// Writes an MTRR of this processor. Returns the write that undoes it, where memory has other types now.
///
/// # Errors
/// [`HostFault`] where the processor refuses the value, where memory would be in more pieces than the kernel can follow, and
/// where `own` memory would get a type that the kernel cannot run with: write-combining stores arrive in any order.
fn change(write: MtrrWrite, own: SpaRange) -> Result<Option<MtrrWrite>, HostFault> {
    let next = Mtrrs::read(Features::current().physical_bits).with(write);
    if next.are_on() && next.are_scattered() {
        refused(write, "memory types that change too often");
        return Err(HostFault);
    }
    let mut types = TYPES.lock();
    if next.are_on() && !next.keeps(own, &types.now) {
        refused(write, "another memory type for the hypervisor's memory");
        return Err(HostFault);
    }
    // SAFETY: the hypervisor's own memory keeps its type, or becomes write-back; while MTRRs are off it is uncached, which
    // is only slow.
    let before = unsafe { write.carry_out() }?;
    let changed = next.are_on() && !next.same_types(&types.now);
    if changed {
        *types = Types { now: next, before: types.now };
    }
    Ok(changed.then_some(before))
}

/// Logs the first write that is refused: the root VM can repeat it as often as it likes.
fn refused(write: MtrrWrite, what: &str) {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if !LOGGED.swap(true, Ordering::Relaxed) {
        log::warn!("the root VM wants {what} ({write:#x?}): refused, and more are not logged");
    }
}
