//! The pen: holds the CPUs that the firmware has left in a spin table (Devicetree Specification 0.4, 3.8.1).
//!
//! A write of an address to the release word of such a CPU starts it at that address, at EL2, and the OS can write the word.
//! So the launch releases every such CPU into a loop of the kernel and is complete only once all have arrived.
//!
//! A CPU waits in the pen at EL2 with MMU and caches off, for the release word in its own [`Arrival`].

use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0, Readable, SCTLR_EL2};
use plinth_kernel::MAX_PPS;

use crate::cache;
use crate::machine::spin_table::Spinning;
use crate::power::secondary::{ARRIVALS, Arrival, arrive};

/// How often at most the words are looked at while processors are awaited, should the counter not count.
const LOOKS: u32 = 1 << 26;

/// Which CPUs have arrived, by PP. Written by CPUs with caches off and only read by the boot CPU: a line that a cache writes
/// back would undo such a write. So the array shares no cache line with other data, for lines of up to 2 KiB (Arm ARM,
/// CTR_EL0.CWG).
#[repr(C, align(2048))]
struct Here([AtomicU64; MAX_PPS]);

static HERE: Here = Here([const { AtomicU64::new(0) }; MAX_PPS]);

fn is_here(pp: usize) -> bool {
    let Some(word) = HERE.0.get(pp) else { return false };
    // SAFETY: the word is mapped; what a cache holds of it was never written there.
    unsafe { cache::clean_to_memory(&raw const *word as u64, 8) };
    word.load(Ordering::SeqCst) != 0
}

/// Releases all spin-table CPUs into the [`pen`] and waits until they have arrived. A CPU that the device tree reports as
/// failed may stay away: no CPU reads its release word.
///
/// # Errors
/// The affinity of a CPU that has not arrived within a second.
///
/// # Safety
/// By the device tree, CPUs wait so; their words are mapped, and all arrivals are prepared.
pub(crate) unsafe fn collect<I: Iterator<Item = Spinning>>(all: impl Fn() -> I) -> Result<(), u64> {
    for Spinning { release, .. } in all() {
        // SAFETY: the caller vouches for the word.
        unsafe { (release as *mut u64).write_volatile(pen as *const () as u64) };
        // SAFETY: the word is mapped.
        unsafe { cache::clean_to_memory(release, 8) };
    }
    let begin = CNTPCT_EL0.get();
    let mut missing = None;
    for _ in 0..LOOKS {
        // SAFETY: an event, after the barrier of the cleaning.
        unsafe { asm!("sev", options(nostack, preserves_flags)) };
        missing = all().find(|spinning| !is_here(spinning.pp));
        if missing.is_none() || CNTPCT_EL0.get().wrapping_sub(begin) > CNTFRQ_EL0.get() {
            break;
        }
    }
    match all().find(|spinning| !spinning.failed && !is_here(spinning.pp)) {
        Some(spinning) => Err(spinning.affinity),
        None => {
            if let Some(Spinning { affinity, .. }) = missing {
                log::warn!("processor {affinity:#x}, which does not work by its status, does not answer");
            }
            Ok(())
        }
    }
}

/// Releases a CPU from the pen.
pub(crate) fn let_go(arrival: &Arrival) {
    arrival.go.store(1, Ordering::SeqCst);
    // SAFETY: the word is mapped.
    unsafe { cache::clean_to_memory(&raw const arrival.go as u64, 8) };
    // SAFETY: an event, after the barrier of the cleaning.
    unsafe { asm!("sev", options(nostack, preserves_flags)) };
}

/// Resets the release word, so that the CPU waits when it comes back.
pub(crate) fn shut(arrival: &Arrival) {
    arrival.go.store(0, Ordering::SeqCst);
    // SAFETY: the word is mapped.
    unsafe { cache::clean_to_memory(&raw const arrival.go as u64, 8) };
}

/// Returns a CPU whose launch has failed to the pen, with MMU and caches off.
///
/// # Safety
/// The processor is at EL2, and its tables map this code one to one.
pub(crate) unsafe fn go_back() -> ! {
    const MMU_AND_CACHES: u64 = 1 << 0 | 1 << 2 | 1 << 12;
    let off = SCTLR_EL2.get() & !MMU_AND_CACHES;
    // SAFETY: nothing but registers is used from here on, and the code stays at its address.
    unsafe {
        asm!(
            "dsb sy",
            "msr sctlr_el2, {off}",
            "isb",
            "b {pen}",
            off = in(reg) off,
            pen = sym pen,
            options(noreturn)
        )
    }
}

/// The loop in which the CPUs wait.
///
/// # Safety
/// Only a CPU may come here that [`collect`] has sent, or that returns by [`go_back`].
#[unsafe(naked)]
unsafe extern "C" fn pen() -> ! {
    naked_asm!(
        "msr daifset, #15",
        "mrs x1, mpidr_el1",
        "mov x2, #0xFFFFFF",
        "movk x2, #0xFF, lsl #32",
        "and x1, x1, x2",
        "adrp x0, {arrivals}",
        "add x0, x0, :lo12:{arrivals}",
        "mov x3, #{count}",
        "1:",
        "ldr x4, [x0, #{affinity}]",
        "cmp x4, x1",
        "b.eq 3f",
        "add x0, x0, #{size}",
        "subs x3, x3, #1",
        "b.ne 1b",
        "2:",
        // BOUND: none. The device tree does not know this processor, and so nobody waits for it.
        "wfe",
        "b 2b",
        "3:",
        "ldr x5, [x0, #{pp}]",
        "adrp x6, {here}",
        "add x6, x6, :lo12:{here}",
        "mov x7, #1",
        "str x7, [x6, x5, lsl #3]",
        "dsb sy",
        "4:",
        "ldr x4, [x0, #{go}]",
        "cbnz x4, {arrive}",
        // BOUND: the root VM's to set, which starts this processor, or never does. Nobody waits for it before it has arrived.
        "wfe",
        "b 4b",
        arrivals = sym ARRIVALS,
        here = sym HERE,
        count = const MAX_PPS,
        affinity = const offset_of!(Arrival, affinity),
        pp = const offset_of!(Arrival, pp),
        size = const size_of::<Arrival>(),
        go = const offset_of!(Arrival, go),
        arrive = sym arrive,
    )
}
