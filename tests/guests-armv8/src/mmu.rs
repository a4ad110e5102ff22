//! EL1's own translation: all addresses one to one in blocks of 1 GiB, and from [`ALIAS`] on once more, read-only, for
//! EL0.

use core::arch::asm;
use core::cell::UnsafeCell;

use plinth_device_tree::Tree;
use plinth_launch::Range;

use crate::{read, write};

/// Where EL0 finds the first 128 GiB.
pub const ALIAS: u64 = 256 << 30;
const ALIAS_BLOCKS: usize = 128;

/// log2 of what a block maps.
const SHIFT: u32 = 30;
/// A block of write-back memory: AttrIndx 0, inner shareable, accessed. EL0 never executes it.
const MEMORY: u64 = 0x701 | 1 << 54;
/// A block of device registers: AttrIndx 1, not executable.
const DEVICE: u64 = 0x405 | 3 << 53;
/// Memory that EL0 may read and execute and nobody may write: AP 0b11, PXN.
const USER: u64 = 0x701 | 3 << 6 | 1 << 53;
/// MAIR_EL1: 0 write-back, 1 Device-nGnRnE.
const MAIR: u64 = 0x00FF;
/// TCR_EL1: 39 bits of address below, none above; write-back walks, inner shareable.
const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23;
/// SCTLR_EL1: RES1, M, C, I.
const SCTLR: u64 = 0x30D0_0800 | 1 | 1 << 2 | 1 << 12;

/// A page of code at EL1: AttrIndx 0, inner shareable, accessed. EL0 never executes it.
const PAGE: u64 = 0x703 | 1 << 54;
/// TCR_EL1 for addresses above: 25 bits of them by pages of 4 KiB, write-back walks, inner shareable.
const UPPER: u64 = 39 << 16 | 1 << 24 | 1 << 26 | 3 << 28 | 2 << 30;
const NO_UPPER: u64 = 1 << 23;

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: written by the boot processor alone, before any other runs.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([0; 512]));
/// The tables of addresses above, and the page that they map last.
static UPPER_TABLES: [Table; 2] = [const { Table(UnsafeCell::new([0; 512])) }; 2];
static LAST_PAGE: Table = Table(UnsafeCell::new([0; 512]));

/// What a processor needs to use the same translation.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Registers {
    mair: u64,
    tcr: u64,
    ttbr: u64,
    sctlr: u64,
}

impl Registers {
    /// None yet.
    pub(crate) const fn none() -> Self {
        Self { mair: 0, tcr: 0, ttbr: 0, sctlr: 0 }
    }
}

/// What this image's translation needs.
pub(crate) fn registers() -> Registers {
    let range = read!("id_aa64mmfr0_el1") & 0xF;
    Registers { mair: MAIR, tcr: TCR | range.min(5) << 32, ttbr: TABLE.0.get() as u64, sctlr: SCTLR }
}

/// Maps everything and turns MMU and caches on.
pub(crate) fn enable(tree: Tree<'_>) {
    // SAFETY: one processor runs, and its MMU does not walk the table yet.
    let table = unsafe { &mut *TABLE.0.get() };
    let (low, high) = table.split_at_mut(256);
    for (index, entry) in low.iter_mut().enumerate() {
        *entry = (index as u64) << SHIFT | DEVICE;
    }
    for bank in tree.banks() {
        for index in blocks(bank) {
            if let Some(entry) = low.get_mut(index) {
                *entry = (index as u64) << SHIFT | MEMORY;
            }
            if let Some(entry) = high[..ALIAS_BLOCKS].get_mut(index) {
                *entry = (index as u64) << SHIFT | USER;
            }
        }
    }
    let Registers { mair, tcr, ttbr, sctlr } = registers();
    // SAFETY: the map is one to one, and what was written without caches is in memory.
    unsafe {
        asm!(
            "dsb sy",
            "msr mair_el1, {mair}",
            "msr tcr_el1, {tcr}",
            "msr ttbr0_el1, {ttbr}",
            "isb",
            "tlbi vmalle1",
            "ic iallu",
            "dsb sy",
            "isb",
            "msr sctlr_el1, {sctlr}",
            "isb",
            mair = in(reg) mair,
            tcr = in(reg) tcr,
            ttbr = in(reg) ttbr,
            sctlr = in(reg) sctlr,
            options(nostack, preserves_flags)
        );
    }
}

fn blocks(range: Range) -> core::ops::RangeInclusive<usize> {
    let last = range.start.saturating_add(range.size - 1) >> SHIFT;
    (range.start >> SHIFT) as usize..=last as usize
}

/// Writes a value back to memory, where a processor without caches finds it.
pub(crate) fn clean<T>(value: &T) {
    clean_range(Range { start: &raw const *value as u64, size: size_of::<T>() as u64 });
}

/// The same for a range of memory.
pub fn clean_range(range: Range) {
    for at in (range.start & !15..range.start + range.size).step_by(16) {
        // SAFETY: cleaning loses nothing.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

unsafe extern "C" {
    static _head: u8;
    static __plinth_end: u8;
}

/// This image, from its header to the end of its data.
pub fn image() -> Range {
    let start = &raw const _head as u64;
    Range { start, size: &raw const __plinth_end as u64 - start }
}

/// Runs `code` with MMU and data caches off, on the one processor that runs.
pub fn without<R>(code: impl FnOnce() -> R) -> R {
    const OFF: u64 = SCTLR & !(1 | 1 << 2);
    switch(OFF);
    let result = code();
    switch(SCTLR);
    result
}

/// Calls `work` with the last instruction's address while `instruction` stands there, on the one processor that runs.
pub fn with_last_word<R>(instruction: u32, work: impl FnOnce(u64) -> R) -> R {
    const ENTRIES_OF_25_BITS: usize = 16;
    const NEXT_TABLE: u64 = 3;
    let [upper, lower] = UPPER_TABLES.each_ref().map(|table| table.0.get());
    // SAFETY: one processor runs, and nothing walks the tables or executes the page yet.
    unsafe {
        (*LAST_PAGE.0.get())[511] = u64::from(instruction) << 32;
        (*lower)[511] = LAST_PAGE.0.get() as u64 | PAGE;
        (*upper)[ENTRIES_OF_25_BITS - 1] = lower as u64 | NEXT_TABLE;
    }
    clean(&LAST_PAGE);
    let tcr = registers().tcr;
    // SAFETY: nothing else is above.
    unsafe {
        write!("ttbr1_el1", upper as u64);
        set_tcr(tcr & !NO_UPPER | UPPER);
    }
    let result = work(u64::MAX - 3);
    // SAFETY: as it was.
    unsafe { set_tcr(tcr) };
    result
}

/// # Safety
/// Addresses in use lead where they did.
unsafe fn set_tcr(tcr: u64) {
    // SAFETY: forwarded to the caller; the rest are barriers and invalidations.
    unsafe {
        asm!(
            "dsb sy", "msr tcr_el1, {tcr}", "isb", "tlbi vmalle1", "ic iallu", "dsb sy", "isb",
            tcr = in(reg) tcr,
            options(nostack, preserves_flags)
        );
    }
}

/// Sets SCTLR_EL1 once all of this image is in memory and no cache holds anything of it: no access comes in between.
fn switch(sctlr: u64) {
    let Range { start, size } = image();
    // SAFETY: cleaning loses nothing, and the map is one to one: this goes on where it was.
    unsafe {
        asm!(
            "2:",
            "dc civac, {at}",
            "add {at}, {at}, #16",
            "cmp {at}, {end}",
            "b.lo 2b",
            "dsb sy",
            "msr sctlr_el1, {sctlr}",
            "isb",
            "tlbi vmalle1",
            "dsb sy",
            "isb",
            at = inout(reg) start => _,
            end = in(reg) start + size,
            sctlr = in(reg) sctlr,
            options(nostack)
        );
    }
}
