//! The machine's memory types, and the root VM's writes to the MTRRs, which change them.
//!
//! EPT does not look at the MTRRs (Intel SDM vol. 3C, "EPT and Memory Typing"), so the root VM's nested tables hold what
//! they say. A write exits, is carried out on the processor, and where memory has another type by then, the kernel brings
//! the tables up to date. Each processor is written the same, one after the other: the first one counts, and the others
//! change nothing any more. While a processor's MTRRs are off, which is how software changes them (Intel SDM vol. 3A,
//! "MTRR Considerations in MP Systems"), nothing is compared.

use plinth_arch_x86::exit_registers::NumberedWrite;
use plinth_arch_x86::mtrr::{MtrrWrite, Mtrrs};
use plinth_hal::page_table::MemoryType;
use plinth_hal::{
    Exit, ExitClass, GuestMemory, HostFault, MEMORY_TYPES, PhysicalMemory, Spa, SpaRange, VsHw,
};
use spin::Mutex;

use crate::bitmaps::wishes_for;
use crate::features::Features;
use crate::processor::GENERAL_PROTECTION;
use crate::vs::VmxVs;

/// By which the root VM's nested tables are made.
static TYPES: Mutex<Mtrrs> = Mutex::new(Mtrrs::NONE);

/// Begins with what the first processor's MTRRs are at launch.
pub(crate) fn start(mtrrs: Mtrrs) {
    *TYPES.lock() = mtrrs;
}

/// The type at an address, and to where it is certainly the same.
pub(crate) fn type_at(at: Spa) -> (MemoryType, Spa) {
    TYPES.lock().type_at(at)
}

/// The write of an MTRR, where a WRMSR that exited is one and the kernel's to carry out.
pub(crate) fn written(vs: &VmxVs, write: NumberedWrite) -> Option<MtrrWrite> {
    let wished = |register| wishes_for(vs.memory().read_u64(vs.wishes()), register);
    MtrrWrite::new(write).filter(|mtrr| vs.is_root && !wished(mtrr.register()))
}

/// Carries it out. Returns an exit where the kernel has to follow.
pub(crate) fn write(vs: &mut VmxVs, guest: &impl GuestMemory, mtrr: MtrrWrite) -> Option<Exit> {
    match change(mtrr, vs.memory().reservation()) {
        Err(HostFault) => vs.inject(GENERAL_PROTECTION),
        Ok(changed) => {
            let _ = vs.advance(guest);
            return changed.then_some(Exit { class: ExitClass::Cache, number: 0, detail: MEMORY_TYPES });
        }
    }
    None
}

/// Writes an MTRR of this processor. Returns whether memory has other types now.
///
/// # Errors
/// [`HostFault`] where the processor refuses the value, and where `own` memory would get a type that the kernel cannot run
/// with: write-combining stores arrive in any order.
fn change(write: MtrrWrite, own: SpaRange) -> Result<bool, HostFault> {
    let next = Mtrrs::read(Features::current().physical_bits).with(write);
    let mut types = TYPES.lock();
    if next.are_on() && !next.keeps(own, &types) {
        log::warn!(
            "the root VM wants another memory type for the hypervisor's memory (MSR {:#x}): refused",
            write.register()
        );
        return Err(HostFault);
    }
    // SAFETY: the hypervisor's own memory keeps its type, or becomes write-back; while MTRRs are off it is uncached, which
    // is only slow.
    unsafe { write.carry_out() }?;
    let changed = next.are_on() && !next.same_types(&types);
    if changed {
        *types = next;
    }
    Ok(changed)
}
