//! The machine's memory types, and the root VM's writes to the MTRRs, which change them.
//!
//! With EPT the processor ignores the MTRRs (Intel SDM vol. 3C, "EPT and Memory Typing"), so the root VM's
//! EPT entries hold the types of the MTRRs. A write of an MTRR exits. The kernel performs the write on the
//! processor, and updates the EPT entries if the types of memory have changed. An OS writes the same values
//! on each processor, one after the other: the first write changes the types, and the others find no change.
//! While an OS changes MTRRs it disables them (Intel SDM vol. 3A, "MTRR Considerations in MP Systems"); the
//! kernel compares no types meanwhile.

use core::sync::atomic::{AtomicBool, Ordering};

use plinth_arch_x86::mtrr::{MtrrWrite, Mtrrs};
use plinth_hal::page_table::MemoryType;
use plinth_hal::{Exit, ExitClass, GuestMemory, HostFault, MEMORY_TYPES, Spa, SpaRange, VsHw};
use plinth_launch::{LaunchError, LaunchStatus};
// BOUND: its holder reads or compares types, of which there are as many as registers say, and touches nothing
// else.
use spin::Mutex;

use crate::features::Features;
use crate::stopped_guest::GENERAL_PROTECTION;
use crate::vs::VmxVs;

/// The MTRRs that the root VM's EPT entries follow, and those of before the last change.
struct Types {
    now: Mtrrs,
    before: Mtrrs,
}

static TYPES: Mutex<Types> = Mutex::new(Types { now: Mtrrs::NONE, before: Mtrrs::NONE });

/// Records the first processor's MTRRs at the launch.
///
/// # Errors
/// The launch is refused if the MTRRs cut memory into more pieces than the kernel can follow.
pub(crate) fn start(mtrrs: Mtrrs) -> Result<(), LaunchStatus> {
    if mtrrs.are_scattered() {
        log::error!("the firmware's memory types (MTRRs) change too often for Plinth: {mtrrs:x?}");
        return Err(LaunchStatus::failed(LaunchError::MissingFeature, 0));
    }
    *TYPES.lock() = Types { now: mtrrs, before: mtrrs };
    Ok(())
}

/// The memory type at an address, and the end of a range that has the same type throughout.
pub(crate) fn type_at(at: Spa) -> (MemoryType, Spa) {
    TYPES.lock().now.type_at(at)
}

/// Performs the root VM's write of an MTRR. Returns an exit if the kernel must update the EPT entries.
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

/// Undoes the last write and injects #GP: the kernel could not update the EPT entries.
pub(crate) fn refuse(vs: &mut VmxVs) {
    if let Some(before) = vs.mtrr_before.take() {
        let mut types = TYPES.lock();
        // SAFETY: the write restores the types of before, with which the kernel has run.
        let _ = unsafe { before.carry_out() };
        types.now = types.before;
    }
    vs.inject(GENERAL_PROTECTION);
}

/// Writes an MTRR of this processor. If the write changes the types of memory, returns the write that undoes
/// it.
///
/// # Errors
/// [`HostFault`] if the processor refuses the value, if memory would be in more pieces than the kernel can
/// follow, or if the hypervisor's memory `own` would get another type than write-back or its present one.
/// With write-combining, for example, the kernel's stores would become visible in any order.
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
    // SAFETY: the hypervisor's own memory keeps its type, or becomes write-back. While the MTRRs are disabled
    // it is uncached, which is slow but correct.
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
