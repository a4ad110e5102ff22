//! The root VM's writes to the MTRRs: the hypervisor's memory keeps the type that it had at the launch, or
//! becomes write-back.
//!
//! With nested paging the processor combines the MTRRs' types with those of the page tables (AMD APM vol. 2,
//! 15.25.8), so the kernel updates no tables. But the MTRRs apply to the kernel's own accesses too. With
//! write-combining, for example, the kernel's stores would become visible in any order.

use core::sync::atomic::{AtomicBool, Ordering};

use plinth_arch_x86::cpuid::native;
use plinth_arch_x86::msr::read_guarded;
use plinth_arch_x86::mtrr::{MtrrWrite, Mtrrs};
use plinth_hal::page_table::MemoryType;
use plinth_hal::{HostFault, Spa, SpaRange};
// BOUND: the boot processor fills it in before another processor reads it; `get` does not wait.
use spin::Once;

use crate::features::Features;

/// The first processor's MTRRs at the launch.
static AT_LAUNCH: Once<Mtrrs> = Once::new();

/// Records the MTRRs of the first processor, if it has any.
pub(crate) fn start(features: &Features) {
    const MTRR: u32 = 1 << 12;
    if native(1, 0)[3] & MTRR != 0 {
        AT_LAUNCH.call_once(|| Mtrrs::read(features.physical_bits));
    }
}

/// Writes an MTRR of this processor.
///
/// # Errors
/// [`HostFault`] if the processor has no MTRRs or refuses the value, or if the hypervisor's memory `own`
/// would get another type or be redirected to devices.
pub(crate) fn write(mtrr: MtrrWrite, own: SpaRange) -> Result<(), HostFault> {
    let at_launch = AT_LAUNCH.get().ok_or(HostFault)?;
    let current = Mtrrs::read(Features::current().physical_bits);
    let next = current.with(mtrr);
    if mtrr.redirects(&current) || next.are_on() && (next.are_scattered() || !next.keeps(own, at_launch)) {
        refused(mtrr);
        return Err(HostFault);
    }
    // SAFETY: the hypervisor's own memory keeps its type, or becomes write-back. While the MTRRs are disabled
    // it is uncached, which is slow but correct.
    unsafe { mtrr.carry_out() }.map(drop)
}

/// Whether an address may be memory: its type is write-back by the MTRRs, or by SYSCFG.Tom2ForceMemTypeWB,
/// which makes all memory from 4 GiB up to TOP_MEM2 write-back (AMD APM vol. 2, 7.9.4).
pub(crate) fn may_be_memory(at: Spa) -> bool {
    const SYSCFG: u32 = 0xC001_0010;
    const TOP_MEM2: u32 = 0xC001_001D;
    const ENABLED_AND_FORCED: u64 = 1 << 21 | 1 << 22;
    const HIGH: u64 = 1 << 32;
    if AT_LAUNCH.get().is_none() {
        return true;
    }
    let is_write_back =
        || Mtrrs::read(Features::current().physical_bits).type_at(at).0 == MemoryType::WriteBack;
    let is_forced = || {
        let forced = read_guarded(SYSCFG).is_ok_and(|value| value & ENABLED_AND_FORCED == ENABLED_AND_FORCED);
        forced && read_guarded(TOP_MEM2).is_ok_and(|top| (HIGH..top).contains(&at.raw()))
    };
    is_write_back() || is_forced()
}

/// Logs the first write that is refused: the root VM can repeat it as often as it likes.
fn refused(mtrr: MtrrWrite) {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if !LOGGED.swap(true, Ordering::Relaxed) {
        log::warn!(
            "the root VM wants another memory type for the hypervisor's memory ({mtrr:#x?}): refused, and more are not logged"
        );
    }
}
