//! The time-stamp counter and its frequency.

use core::arch::x86_64::_rdtsc;

use crate::cpuid::native;

/// The counter.
pub fn counter() -> u64 {
    // SAFETY: every processor of 64 bits has the instruction, and the kernel runs at privilege level 0.
    unsafe { _rdtsc() }
}

/// Its ticks per second where the processor says so (SDM vol. 3B, 18.7.3: CPUID 15H). It is not measured: every clock to
/// measure it by is the root VM's.
pub fn frequency() -> Option<u64> {
    const TSC_LEAF: u32 = 0x15;
    if native(0, 0)[0] < TSC_LEAF {
        return None;
    }
    let [denominator, numerator, crystal, _] = native(TSC_LEAF, 0).map(u64::from);
    let known = denominator != 0 && numerator != 0 && crystal != 0;
    known.then(|| crystal * numerator / denominator.max(1))
}
