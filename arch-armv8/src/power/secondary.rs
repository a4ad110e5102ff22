//! Entry of secondary CPUs: where a CPU arrives that the root VM starts for the first time, at EL2 with MMU and caches off,
//! from PSCI or from the pen of spin-table CPUs.

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0, Readable};
use plinth_kernel::MAX_PPS;

use crate::cache;
use crate::el2::{self, HostRegisters};
use crate::handover::Handover;
use crate::psci::power_state::POWER_STATES;
use crate::{power::firmware, power::pen, psci::calls};

/// What a processor finds when it arrives. Read by [`arrive`] and in [`pen`] in assembly: the order counts.
#[repr(C, align(64))]
pub(crate) struct Arrival {
    registers: HostRegisters,
    stack_top: u64,
    /// For a CPU in the [`pen`]: not 0 once it may leave.
    pub(crate) go: AtomicU64,
    pub(crate) affinity: u64,
    pub(crate) pp: u64,
    /// The CPU waits in the [`pen`]; otherwise the firmware starts it.
    waits: bool,
    handover: Option<Handover>,
    /// Where the CPU continues after [`arrive`]. The launch supplies it: this file does not import the launch.
    live: Option<extern "C" fn(&Arrival) -> !>,
}

impl Arrival {
    /// The handover that [`prepare`] has stored.
    pub(crate) fn handover(&self) -> Option<Handover> {
        self.handover
    }
}

/// One for each processor.
pub(crate) struct Arrivals([UnsafeCell<Arrival>; MAX_PPS]);

// SAFETY: an entry is written once, by the boot processor before any other runs, and only read afterwards.
unsafe impl Sync for Arrivals {}

pub(crate) static ARRIVALS: Arrivals = Arrivals(
    [const {
        UnsafeCell::new(Arrival {
            registers: HostRegisters::NONE,
            stack_top: 0,
            go: AtomicU64::new(0),
            affinity: u64::MAX,
            pp: 0,
            waits: false,
            handover: None,
            live: None,
        })
    }; MAX_PPS],
);

/// Prepares the arrival of a CPU. Called by the boot CPU alone, before any other CPU runs. `waits` means that the CPU will
/// wait in the [`pen`]; `live` is where the CPU continues once it was started.
pub(crate) fn prepare(
    pp: usize,
    handover: Handover,
    registers: HostRegisters,
    waits: bool,
    live: extern "C" fn(&Arrival) -> !,
) {
    let Some(cell) = ARRIVALS.0.get(pp) else { return };
    let stack_top = handover.resources.stack_top.raw();
    let (go, affinity) = (AtomicU64::new(0), POWER_STATES.affinity(pp));
    let (pp, handover, live) = (pp as u64, Some(handover), Some(live));
    let arrival = Arrival { registers, stack_top, go, affinity, pp, waits, handover, live };
    // SAFETY: nobody else runs yet.
    unsafe { cell.get().write(arrival) };
    cache::publish(cell);
}

/// The arrival that [`prepare`] has stored for a CPU.
pub(crate) fn handover(pp: usize) -> Option<Handover> {
    let cell = ARRIVALS.0.get(pp)?;
    // SAFETY: as in `power_on`.
    unsafe { (*cell.get()).handover }
}

/// Whether any processor waits in [`pen`], where the firmware does not find it.
pub(crate) fn holds_any() -> bool {
    // SAFETY: as in `power_on`.
    ARRIVALS.0.iter().any(|cell| unsafe { (*cell.get()).waits })
}

/// Starts a CPU under Plinth, by the firmware or from the [`pen`]. Returns PSCI's result.
pub(crate) fn power_on(pp: usize) -> i64 {
    let Some(cell) = ARRIVALS.0.get(pp) else { return calls::INVALID_PARAMETERS };
    // SAFETY: written by the boot processor alone, before any other ran; since then only read, but for the atomic.
    let arrival = unsafe { &*cell.get() };
    if arrival.waits {
        pen::let_go(arrival);
        return calls::SUCCESS;
    }
    if !firmware::is_present() {
        return calls::NOT_SUPPORTED;
    }
    let entry = arrive as *const () as u64;
    let call = [u64::from(calls::CPU_ON_64), POWER_STATES.affinity(pp), entry, cell.get() as u64];
    let begin = CNTPCT_EL0.get();
    // BOUND: `TURNS_OFF`.
    loop {
        // SAFETY: the processor starts in `arrive` with its own arrival.
        let [answer, ..] = unsafe { firmware::call(call) };
        let answer = i64::from(answer as u32 as i32);
        let waited = CNTPCT_EL0.get().wrapping_sub(begin) > CNTFRQ_EL0.get() / TURNS_OFF;
        if answer != calls::ALREADY_ON || waited {
            return answer;
        }
    }
}

/// The part of a second in which a processor that [`turn_off`] has given up is off.
const TURNS_OFF: u64 = 10;

/// Turns this CPU off after its launch has failed, so that the root VM can start it again.
///
/// # Safety
/// The kernel has nothing under way on this processor, `pp`, and it runs on the kernel's tables.
pub(crate) unsafe fn turn_off(pp: usize) -> ! {
    let arrival = ARRIVALS.0.get(pp).map(|cell| {
        // SAFETY: as in `power_on`.
        unsafe { &*cell.get() }
    });
    if let Some(arrival) = arrival.filter(|arrival| arrival.waits) {
        pen::shut(arrival);
        POWER_STATES.give_up(pp);
        // SAFETY: the kernel's tables map the pen one to one.
        unsafe { pen::go_back() }
    }
    POWER_STATES.give_up(pp);
    // SAFETY: a processor that the root VM has started was started by the firmware, which turns it off.
    unsafe { firmware::call([u64::from(calls::CPU_OFF), 0, 0, 0]) };
    log::error!("processor {:#x}: the firmware does not turn it off; it stops", POWER_STATES.affinity(pp));
    // BOUND: none. It is off for the others, who do not wait for it.
    loop {
        aarch64_cpu::asm::wfe();
    }
}

/// Waits until all other CPUs have turned themselves off ([`turn_off`]): until then they execute in memory that the caller
/// gets back.
pub(crate) fn wait_until_off() {
    if !firmware::is_present() {
        return;
    }
    let begin = CNTPCT_EL0.get();
    for affinity in POWER_STATES.others() {
        let is_off = || {
            // SAFETY: the call only tells something.
            let [answer, ..] =
                unsafe { firmware::call([u64::from(calls::AFFINITY_INFO_64), affinity, 0, 0]) };
            i64::from(answer as u32 as i32) == calls::IS_OFF
        };
        // BOUND: a second for all of them. The counter runs whatever others do.
        while !is_off() {
            if CNTPCT_EL0.get().wrapping_sub(begin) > CNTFRQ_EL0.get() {
                log::error!(
                    "processor {affinity:#x}: by the firmware it is not off; do not use the hypervisor's memory"
                );
                break;
            }
            core::hint::spin_loop();
        }
    }
}

/// The first instructions of a secondary CPU: loads the kernel's page tables and stack.
///
/// # Safety
/// Only the firmware or [`pen`] may come here, at EL2 with the MMU off and the address of an [`Arrival`] in X0.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn arrive() -> ! {
    naked_asm!(
        "msr daifset, #15",
        "msr spsel, #1",
        "ldp x1, x2, [x0]",
        "ldp x3, x4, [x0, #16]",
        "ldp x5, x6, [x0, #32]",
        "ldr x7, [x0, #{stack}]",
        "ldr x8, [x0, #{extensions}]",
        // HCR_EL2.E2H first: it selects the translation regime, and with it the layout of the registers below.
        "msr hcr_el2, x6",
        "isb",
        "msr mair_el2, x1",
        "msr tcr_el2, x2",
        "msr ttbr0_el2, x3",
        "msr vbar_el2, x5",
        "tbz x8, #{has_tcr2}, 1f",
        "msr S3_4_C2_C0_3, xzr",
        "1: tbz x8, #{has_sctlr2}, 2f",
        "msr S3_4_C1_C0_3, xzr",
        "2: isb",
        "tlbi alle2",
        "ic iallu",
        "dsb sy",
        "isb",
        "msr sctlr_el2, x4",
        "isb",
        "mov sp, x7",
        "mov x29, xzr",
        "mov x30, xzr",
        "ldr x9, [x0, #{live}]",
        "br x9",
        stack = const offset_of!(Arrival, stack_top),
        extensions = const offset_of!(Arrival, registers) + offset_of!(HostRegisters, extensions),
        has_tcr2 = const el2::HAS_TCR2,
        has_sctlr2 = const el2::HAS_SCTLR2,
        live = const offset_of!(Arrival, live),
    )
}
