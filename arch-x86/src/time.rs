//! The time-stamp counter and its frequency.

use core::arch::x86_64::_rdtsc;

use crate::cpuid::native;

/// Reads the time-stamp counter.
pub fn counter() -> u64 {
    // SAFETY: every 64-bit processor has RDTSC, and at privilege level 0 CR4.TSD does not forbid it.
    unsafe { _rdtsc() }
}

/// The TSC's frequency in Hz, if CPUID 15H reports it (SDM vol. 3B, 18.7.3). The kernel does not measure the
/// frequency: the clocks that it could compare with belong to the root VM.
pub fn frequency() -> Option<u64> {
    const TSC_LEAF: u32 = 0x15;
    if native(0, 0)[0] < TSC_LEAF {
        return None;
    }
    let [denominator, numerator, crystal, _] = native(TSC_LEAF, 0).map(u64::from);
    let known = denominator != 0 && numerator != 0 && crystal != 0;
    known.then(|| crystal * numerator / denominator.max(1))
}
