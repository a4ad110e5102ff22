//! Caches on for the loader and for the kernel's first steps: an identity map in blocks of 1 GiB.
//!
//! Without it the kernel's locks would be exclusive accesses to uncached memory, which no processor has to support.

use core::arch::asm;
use core::cell::UnsafeCell;

use plinth_launch::Range;

/// log2 of what a block maps.
const BLOCK_SHIFT: u32 = 30;
/// A block of write-back memory: AttrIndx 0, inner shareable, accessed. AP[1] means nothing at EL2, but at EL1, where the
/// loader goes on with the same tables, what EL0 may write is not executed.
const MEMORY: u64 = 0x701;
/// A block of device registers: AttrIndx 1, not executable at either level.
const DEVICE: u64 = 0x405 | 1 << 53 | 1 << 54;
/// MAIR_EL2: 0 write-back, 1 Device-nGnRnE.
const MAIR: u64 = 0x00FF;
/// TCR_EL2: 39 bits of address, write-back walks, 40 bits of physical address, RES1.
const TCR: u64 = 1 << 31 | 1 << 23 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 25;
/// SCTLR_EL2: RES1, M, C, I.
const SCTLR: u64 = 0x30C5_0830 | 1 | 1 << 2 | 1 << 12;

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: one processor runs the loader.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([0; 512]));

/// Maps 512 GiB one to one, what overlaps `banks` as memory, and turns MMU and caches on. `written` is what the loader has written
/// so far, past the caches.
///
/// # Safety
/// At EL2 with the MMU off, on the boot processor; `written` is memory.
pub(crate) unsafe fn enable(banks: impl Iterator<Item = Range>, written: Range) {
    // SAFETY: nobody else has a reference; the MMU does not walk it yet.
    let table = unsafe { &mut *TABLE.0.get() };
    for (index, entry) in table.iter_mut().enumerate() {
        *entry = (index as u64) << BLOCK_SHIFT | DEVICE;
    }
    for bank in banks.filter(|bank| bank.size != 0) {
        let last = (bank.start.saturating_add(bank.size - 1)) >> BLOCK_SHIFT;
        for index in bank.start >> BLOCK_SHIFT..=last.min(511) {
            table[index as usize] = index << BLOCK_SHIFT | MEMORY;
        }
    }
    // SAFETY: all of it is in memory, since no cache was on.
    unsafe { drop_from_caches(written) };
    // SAFETY: the map is one to one, and what was written without caches is in memory.
    unsafe {
        asm!(
            "dsb sy",
            "msr mair_el2, {mair}",
            "msr tcr_el2, {tcr}",
            "msr ttbr0_el2, {table}",
            "isb",
            "tlbi alle2",
            "ic iallu",
            "dsb sy",
            "isb",
            "msr sctlr_el2, {sctlr}",
            "isb",
            mair = in(reg) MAIR,
            tcr = in(reg) TCR,
            table = in(reg) TABLE.0.get() as u64,
            sctlr = in(reg) SCTLR,
            options(nostack, preserves_flags)
        );
    }
}

/// Has caches forget a range. By the boot protocol firmware has written back what it loaded, and may have left it in caches (Linux,
/// Documentation/arch/arm64/booting.rst): once they are on, that would win over what was written past them.
///
/// # Safety
/// The range is memory, and no cache holds anything of it that is newer.
unsafe fn drop_from_caches(range: Range) {
    let mut at = range.start & !(LINE - 1);
    while at < range.start + range.size {
        // SAFETY: what is dropped is older than memory, says the caller.
        unsafe { asm!("dc ivac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += LINE;
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// The smallest line that the architecture allows, in bytes.
const LINE: u64 = 16;

/// Writes a range back to memory, where the payload, which starts without caches, finds it.
///
/// # Safety
/// The range is memory.
pub(crate) unsafe fn clean(range: Range) {
    let mut at = range.start & !(LINE - 1);
    while at < range.start + range.size {
        // SAFETY: cleaning loses nothing.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += 64;
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", "ic iallu", "dsb sy", "isb", options(nostack, preserves_flags)) };
}
