//! Cache maintenance by address: code that is going to be executed, and data for a processor whose caches are off.

use core::arch::asm;

use crate::sysreg::read_system;

/// The size of the smallest data cache line, in bytes.
fn line() -> u64 {
    4 << (read_system!("ctr_el0") >> 16 & 0xF)
}

/// Makes what was written at `start` visible to instruction fetches.
///
/// # Safety
/// The range is mapped.
pub(crate) unsafe fn publish_code(start: u64, size: u64) {
    let step = line();
    let mut at = start & !(step - 1);
    while at < start.saturating_add(size) {
        // SAFETY: cleaning a line of mapped memory loses nothing.
        unsafe { asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
        at = at.saturating_add(step);
    }
    // SAFETY: barriers and an invalidation of instructions, which are fetched again.
    unsafe { asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Writes what was written at `start` back to memory, where a processor without caches finds it.
///
/// # Safety
/// The range is mapped.
pub(crate) unsafe fn clean_to_memory(start: u64, size: u64) {
    let step = line();
    let mut at = start & !(step - 1);
    while at < start.saturating_add(size) {
        // SAFETY: cleaning and invalidating a line of mapped memory loses nothing.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at = at.saturating_add(step);
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Cleans a value to memory, where CPUs with caches off read it.
pub(crate) fn publish<T>(value: &T) {
    // SAFETY: the value is mapped.
    unsafe { clean_to_memory(&raw const *value as u64, size_of::<T>() as u64) };
}
