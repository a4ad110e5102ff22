//! The interrupt controller: software-generated interrupts of every kind, and the virtual timer.
//!
//! Group 1 of the non-secure state, all priorities let through. GICv2 (Arm IHI 0048), GICv3 (Arm IHI 0069).

use core::sync::atomic::{AtomicU64, Ordering};

use crate::machine::Gic;
use crate::{read, system, write};

/// The virtual timer's interrupt.
const TIMER: u32 = 27;

static KIND: AtomicU64 = AtomicU64::new(0);
static INTERFACE: AtomicU64 = AtomicU64::new(0);
/// Interrupts of processor and number 0 to 15, then the timer's.
static COUNTS: [[AtomicU64; 17]; system::PROCESSORS] =
    [const { [const { AtomicU64::new(0) }; 17] }; system::PROCESSORS];

/// To whom a software-generated interrupt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The processor with this affinity.
    One(u64),
    /// Every other.
    Others,
    /// Itself, in the controller's own way where it has one.
    Itself,
}

fn register(base: u64, offset: u64) -> *mut u32 {
    (base + offset) as *mut u32
}

fn put(base: u64, offset: u64, value: u32) {
    // SAFETY: the device tree says that the controller is there.
    unsafe { register(base, offset).write_volatile(value) };
}

fn get(base: u64, offset: u64) -> u32 {
    // SAFETY: as in `put`.
    unsafe { register(base, offset).read_volatile() }
}

/// Sets this processor's part up, and the distributor.
pub fn enable(gic: Gic) {
    match gic {
        Gic::None => {}
        Gic::V2(distributor, interface) => {
            KIND.store(2, Ordering::Relaxed);
            INTERFACE.store(interface, Ordering::Relaxed);
            put(distributor, 0, 1);
            enable_private(distributor);
            put(interface, 4, 0xFF);
            put(interface, 0, 1);
        }
        Gic::V3(distributor, redistributors) => {
            KIND.store(3, Ordering::Relaxed);
            // ARE and group 1; then this processor's redistributor, awake.
            put(distributor, 0, 0x12);
            let own = redistributor(redistributors);
            put(own, 0x14, get(own, 0x14) & !2);
            system::wait(100, || get(own, 0x14) & 4 == 0);
            put(own + 0x1_0000, 0x80, u32::MAX);
            enable_private(own + 0x1_0000);
            // SAFETY: this processor's own interface: system registers, all priorities, group 1.
            unsafe {
                write!("S3_0_C12_C12_5", 7_u64);
                write!("S3_0_C4_C6_0", 0xFF_u64);
                write!("S3_0_C12_C12_7", 1_u64);
            }
        }
    }
}

/// Enables the 16 software-generated interrupts and the timer's, at one priority.
fn enable_private(base: u64) {
    for offset in (0x400..0x420).step_by(4) {
        put(base, offset, 0xA0A0_A0A0);
    }
    put(base, 0x100, 0xFFFF | 1 << TIMER);
}

/// How this processor's controller has the hypervisor's timer, which is none of a guest's: whether it is enabled, and its
/// priority.
pub fn hypervisor_timer(gic: Gic) -> Option<(bool, u8)> {
    const TIMER: u64 = 26;
    let base = match gic {
        Gic::None => return None,
        Gic::V2(distributor, _) => distributor,
        Gic::V3(_, redistributors) => redistributor(redistributors) + 0x1_0000,
    };
    let priority = get(base, 0x400 + (TIMER & !3)) >> (8 * (TIMER & 3));
    Some((get(base, 0x100) >> TIMER & 1 != 0, priority as u8))
}

/// This processor's redistributor.
fn redistributor(first: u64) -> u64 {
    const LAST: u32 = 1 << 4;
    const VIRTUAL: u32 = 1 << 1;
    let own = system::affinity();
    let own = (own >> 32 & 0xFF) << 24 | own & 0xFF_FFFF;
    let mut at = first;
    loop {
        let kind = get(at, 8);
        if u64::from(get(at, 12)) == own || kind & LAST != 0 {
            return at;
        }
        at += if kind & VIRTUAL != 0 { 0x4_0000 } else { 0x2_0000 };
    }
}

/// The registers of this processor's SGIs and PPIs, with GICv3.
pub fn private_frame(gic: Gic) -> Option<u64> {
    match gic {
        Gic::V3(_, redistributors) => Some(redistributor(redistributors) + 0x1_0000),
        Gic::None | Gic::V2(..) => None,
    }
}

/// Sends software-generated interrupt `number`.
pub fn send(gic: Gic, to: To, number: u32) {
    match gic {
        Gic::None => {}
        Gic::V2(distributor, _) => {
            let filter = match to {
                To::One(affinity) => 1 << (affinity & 7) << 16,
                To::Others => 1 << 24,
                To::Itself => 2 << 24,
            };
            put(distributor, 0xF00, filter | number);
        }
        Gic::V3(..) => {
            let list = |affinity: u64| {
                (affinity >> 32 & 0xFF) << 48
                    | (affinity >> 16 & 0xFF) << 32
                    | (affinity >> 8 & 0xFF) << 16
                    | 1 << (affinity & 0xF)
            };
            let target = match to {
                To::One(affinity) => list(affinity),
                To::Others => 1 << 40,
                To::Itself => list(system::affinity()),
            };
            // SAFETY: sends an interrupt, which the vectors handle.
            unsafe { write!("S3_0_C12_C11_5", target | u64::from(number) << 24) };
        }
    }
}

/// How often software-generated interrupt `number` came to a processor.
pub fn count(affinity: u64, number: u32) -> u64 {
    COUNTS[system::index(affinity)][number as usize].load(Ordering::Acquire)
}

/// How often the virtual timer's came to a processor.
pub fn timer_count(affinity: u64) -> u64 {
    count(affinity, 16)
}

/// Lets interrupts in, or keeps them out.
pub fn open(open: bool) {
    // SAFETY: the vectors handle them.
    unsafe {
        if open {
            core::arch::asm!("msr daifclr, #2", "isb", options(nostack, preserves_flags));
        } else {
            core::arch::asm!("msr daifset, #2", "isb", options(nostack, preserves_flags));
        }
    }
}

/// Lets the virtual timer ring so many milliseconds from now.
pub fn set_timer(milliseconds: u64) {
    let at = system::ticks() + milliseconds * system::ticks_per_millisecond();
    // SAFETY: the timer is the guest's.
    unsafe {
        write!("cntv_cval_el0", at);
        write!("cntv_ctl_el0", 1_u64);
    }
}

/// Lets the virtual timer's interrupt of this processor in, or not.
pub fn let_timer_in(gic: Gic, on: bool) {
    let base = match gic {
        Gic::None => return,
        Gic::V2(distributor, _) => distributor,
        Gic::V3(_, redistributors) => redistributor(redistributors) + 0x1_0000,
    };
    put(base, if on { 0x100 } else { 0x180 }, 1 << TIMER);
}

/// Handles an interrupt.
pub(crate) fn interrupt() {
    let second = KIND.load(Ordering::Relaxed) == 2;
    let interface = INTERFACE.load(Ordering::Relaxed);
    let acknowledged = if second { u64::from(get(interface, 0xC)) } else { read!("S3_0_C12_C12_0") };
    let number = acknowledged & 0x3FF;
    if number >= 1020 {
        return;
    }
    if number == u64::from(TIMER) {
        // SAFETY: switches the timer off.
        unsafe { write!("cntv_ctl_el0", 0_u64) };
    }
    if second {
        put(interface, 0x10, acknowledged as u32);
    } else {
        // SAFETY: the end of the interrupt that was acknowledged.
        unsafe { write!("S3_0_C12_C12_1", acknowledged) };
    }
    let index = if number < 16 { number as usize } else { 16 };
    let counter = &COUNTS[system::index(system::affinity())][index];
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
}
