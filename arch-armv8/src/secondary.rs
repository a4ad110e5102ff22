//! Where processors arrive that the root VM starts for the first time: at EL2 with MMU and caches off, by PSCI or out of a
//! spin table.

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plinth_kernel::MAX_PPS;

use crate::host::{self, HostRegisters};
use crate::launch::{self, El2Root, Handover};
use crate::slots::SLOTS;
use crate::{firmware, psci};

/// What a processor finds when it arrives. Read by [`arrive`] in assembly: the order counts.
#[repr(C, align(64))]
struct Arrival {
    registers: HostRegisters,
    stack_top: u64,
    /// Not 0 once a processor in [`pen`] may go on.
    go: AtomicU64,
    affinity: u64,
    pp: u64,
    handover: Option<Handover>,
}

/// One for each processor.
struct Arrivals([UnsafeCell<Arrival>; MAX_PPS]);

// SAFETY: an entry is written once, by the boot processor before any other runs, and only read afterwards.
unsafe impl Sync for Arrivals {}

static ARRIVALS: Arrivals = Arrivals(
    [const {
        UnsafeCell::new(Arrival {
            registers: HostRegisters { mair: 0, tcr: 0, ttbr: 0, sctlr: 0, vbar: 0, hcr: 0 },
            stack_top: 0,
            go: AtomicU64::new(0),
            affinity: u64::MAX,
            pp: 0,
            handover: None,
        })
    }; MAX_PPS],
);

/// Makes an arrival ready. Called by the boot processor alone, before any other runs.
pub(crate) fn prepare(pp: usize, handover: Handover, registers: HostRegisters) {
    let Some(cell) = ARRIVALS.0.get(pp) else { return };
    let stack_top = handover.resources.stack_top.raw();
    let (go, affinity) = (AtomicU64::new(0), SLOTS.affinity(pp));
    let arrival = Arrival { registers, stack_top, go, affinity, pp: pp as u64, handover: Some(handover) };
    // SAFETY: nobody else runs yet.
    unsafe { cell.get().write(arrival) };
    launch::publish(cell);
}

/// Whether processors are in [`pen`].
static PENNED: AtomicBool = AtomicBool::new(false);

/// Brings a processor under Plinth that spins until an address is written to `release` (Devicetree Specification 0.4,
/// 3.8.1): where it spins, the root VM could send it past Plinth. It goes on to wait in [`pen`].
///
/// # Safety
/// A processor waits so, its release word is mapped, and all arrivals are prepared.
pub(crate) unsafe fn collect(release: u64) {
    PENNED.store(true, Ordering::SeqCst);
    // SAFETY: the caller vouches for the word.
    unsafe { (release as *mut u64).write_volatile(pen as *const () as u64) };
    // SAFETY: the word is mapped.
    unsafe { host::clean_to_memory(release, 8) };
    // SAFETY: an event, after the barrier of the cleaning.
    unsafe { core::arch::asm!("sev", options(nostack, preserves_flags)) };
}

/// Lets a processor out of [`pen`].
fn let_go(cell: &UnsafeCell<Arrival>) -> i64 {
    // SAFETY: written by the boot processor alone, before any other ran; since then only read, but for the atomic.
    let arrival = unsafe { &*cell.get() };
    arrival.go.store(1, Ordering::SeqCst);
    launch::publish(&arrival.go);
    // SAFETY: an event, after the barrier of the cleaning.
    unsafe { core::arch::asm!("sev", options(nostack, preserves_flags)) };
    psci::SUCCESS
}

/// Has a processor start under Plinth, by the firmware or out of [`pen`]. Returns PSCI's answer.
pub(crate) fn power_on(pp: usize) -> i64 {
    let Some(cell) = ARRIVALS.0.get(pp) else { return psci::INVALID_PARAMETERS };
    if PENNED.load(Ordering::SeqCst) {
        return let_go(cell);
    }
    if !launch::has_firmware() {
        return psci::NOT_SUPPORTED;
    }
    let entry = arrive as *const () as u64;
    // SAFETY: the processor starts in `arrive` with its own arrival.
    let [answer, ..] =
        unsafe { firmware::call([u64::from(psci::CPU_ON_64), SLOTS.affinity(pp), entry, cell.get() as u64]) };
    i64::from(answer as u32 as i32)
}

/// Where processors wait that came from a spin table: at EL2 with MMU and caches off, each for its own arrival's word.
///
/// # Safety
/// Only a processor may come here that [`collect`] has sent.
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
        // A processor that the device tree does not know sleeps for ever.
        "2:",
        "wfe",
        "b 2b",
        "3:",
        "ldr x4, [x0, #{go}]",
        "cbnz x4, {arrive}",
        "wfe",
        "b 3b",
        arrivals = sym ARRIVALS,
        count = const MAX_PPS,
        affinity = const offset_of!(Arrival, affinity),
        size = const size_of::<Arrival>(),
        go = const offset_of!(Arrival, go),
        arrive = sym arrive,
    )
}

/// The first instructions of a processor: makes the kernel's tables and stack its own.
///
/// # Safety
/// Only the firmware or [`pen`] may come here, at EL2 with the MMU off and the address of an [`Arrival`] in X0.
#[unsafe(naked)]
unsafe extern "C" fn arrive() -> ! {
    naked_asm!(
        "msr daifset, #15",
        "msr spsel, #1",
        "ldp x1, x2, [x0]",
        "ldp x3, x4, [x0, #16]",
        "ldp x5, x6, [x0, #32]",
        "ldr x7, [x0, #48]",
        // The regime first: the registers that follow mean something else in the other.
        "msr hcr_el2, x6",
        "isb",
        "msr mair_el2, x1",
        "msr tcr_el2, x2",
        "msr ttbr0_el2, x3",
        "msr vbar_el2, x5",
        "isb",
        "tlbi alle2",
        "ic iallu",
        "dsb sy",
        "isb",
        "msr sctlr_el2, x4",
        "isb",
        "mov sp, x7",
        "mov x29, xzr",
        "mov x30, xzr",
        "b {live}",
        live = sym live,
    )
}

extern "C" fn live(arrival: &Arrival) -> ! {
    let Some(handover) = arrival.handover else { unreachable!("`prepare` puts it there") };
    let (entry, context) = SLOTS.arrive(arrival.pp as usize);
    launch::run(handover, El2Root::started(entry, context))
}
