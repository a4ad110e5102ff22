//! Other processors, started by PSCI.

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::entry::STACK_SIZE;
use crate::mmu::{self, Registers};
use crate::trap;

/// What a processor does once it runs, with the number that it was started with.
pub type Work = fn(u64) -> !;

#[repr(C, align(4096))]
struct Stack([u8; STACK_SIZE]);

/// How many processors can run beside the first one.
pub const OTHERS: usize = 3;

/// Their stacks.
static mut STACKS: [Stack; OTHERS] = [const { Stack([0; STACK_SIZE]) }; OTHERS];

/// Read by [`arrive`] in assembly: the order counts.
#[repr(C, align(64))]
struct Arrival {
    registers: Registers,
    vectors: u64,
    stack: u64,
    work: u64,
    number: u64,
}

struct Place(UnsafeCell<Arrival>);

// SAFETY: written by the boot processor while the one that reads it is off.
unsafe impl Sync for Place {}

static ARRIVALS: [Place; OTHERS] = [const {
    Place(UnsafeCell::new(Arrival { registers: Registers::none(), vectors: 0, stack: 0, work: 0, number: 0 }))
}; OTHERS];

/// How often a processor has arrived.
static ARRIVED: AtomicU64 = AtomicU64::new(0);
/// What it found in X0.
static CONTEXT: AtomicU64 = AtomicU64::new(0);

/// Makes ready what the only other processor does. Returns PSCI's entry point and context.
pub fn prepare(work: Work, number: u64) -> (u64, u64) {
    prepare_place(0, work, number)
}

/// Makes ready what the other processor does that gets this place below [`OTHERS`], each time that it is started. Returns PSCI's
/// entry point and context.
pub fn prepare_place(place: usize, work: Work, number: u64) -> (u64, u64) {
    let arrival = Arrival {
        registers: mmu::registers(),
        vectors: trap::vectors(),
        stack: &raw mut STACKS as u64 + (place as u64 + 1) * size_of::<Stack>() as u64,
        work: work as usize as u64,
        number,
    };
    // SAFETY: the processor that reads it is off.
    let place = unsafe { &mut *ARRIVALS[place].0.get() };
    *place = arrival;
    mmu::clean(place);
    (arrive as *const () as u64, &raw const *place as u64)
}

/// How often a processor has arrived.
pub fn arrived() -> u64 {
    ARRIVED.load(Ordering::Acquire)
}

/// What it found in X0, where [`prepare`] said what must be there.
pub fn context() -> u64 {
    CONTEXT.load(Ordering::Acquire)
}

/// # Safety
/// Only PSCI may come here, with the MMU off and the address of an [`Arrival`] in X0.
#[unsafe(naked)]
unsafe extern "C" fn arrive() -> ! {
    naked_asm!(
        "msr daifset, #15",
        "bl __guest_to_el1",
        "ldp x1, x2, [x0]",
        "ldp x3, x4, [x0, #16]",
        "ldp x5, x6, [x0, #32]",
        "msr mair_el1, x1",
        "msr tcr_el1, x2",
        "msr ttbr0_el1, x3",
        "msr vbar_el1, x5",
        "isb",
        "tlbi vmalle1",
        "ic iallu",
        "dsb sy",
        "isb",
        "msr sctlr_el1, x4",
        "isb",
        "mov sp, x6",
        "mov x29, xzr",
        "mov x30, xzr",
        "b {live}",
        live = sym live,
    )
}

extern "C" fn live(arrival: &Arrival) -> ! {
    // SAFETY: FP is open to EL1 from here on, as on the first processor.
    unsafe { crate::write!("cpacr_el1", 3_u64 << 20) };
    CONTEXT.store(&raw const *arrival as u64, Ordering::Release);
    ARRIVED.fetch_add(1, Ordering::Release);
    // SAFETY: `prepare` put a function of this type there.
    let work = unsafe { core::mem::transmute::<usize, Work>(arrival.work as usize) };
    work(arrival.number)
}
