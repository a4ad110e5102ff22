//! The hypervisor's own timer (CNTHP), which ends a turn of the extension's that takes too long.
//!
//! Its interrupt, PPI 26, comes through the root VM's interrupt controller. So it is let in only where the extension has been
//! interrupted once and all else is held back ([`crate::gic`]), and everything is as before when the guest runs on. It is
//! never acknowledged: a timer that is switched off raises nothing, and what was not acknowledged is not active.
//!
//! EL1 cannot use that timer, so nobody misses the interrupt.

use aarch64_cpu::registers::{CNTPCT_EL0, Readable};
use plinth_launch::Range;

use crate::fdt::GicKind;
use crate::gic;
use crate::host::{read_system, write_system};
use crate::processors::own_affinity;

/// The timer's interrupt (Arm BSA, "PPI assignments").
const PPI: u32 = 26;

/// Registers of SGIs and PPIs, at the same offsets in GICv2's distributor and in a frame of GICv3's redistributor (Arm
/// IHI 0048, 4.3; Arm IHI 0069, 12.9 and 12.10).
const GROUP: u64 = 0x80;
const SET_ENABLE: u64 = 0x100;
const CLEAR_ENABLE: u64 = 0x180;
const PRIORITY: u64 = 0x400 + PPI as u64;

/// CNTHP_CTL_EL2: ENABLE and ISTATUS.
const ENABLE: u64 = 1 << 0;
const STATUS: u64 = 1 << 2;

/// The timer of this processor, and what stands in its interrupt's way.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Where this processor's private interrupts are configured, where that is by such registers.
    frame: Option<u64>,
    /// What the root VM has there, while the timer runs.
    before: Option<Before>,
}

/// The interrupt's configuration.
#[derive(Clone, Copy, Debug)]
struct Before {
    enabled: bool,
    priority: u8,
    group: u32,
}

impl Clock {
    /// This processor's.
    ///
    /// # Safety
    /// `private` is what the device tree says of the registers of private interrupts, mapped.
    pub(crate) unsafe fn new(kind: GicKind, private: Range) -> Self {
        let frame = match kind {
            _ if private.size == 0 => None,
            GicKind::V2(_) => Some(private.start),
            // SAFETY: forwarded to the caller.
            GicKind::V3 => unsafe { own_frame(private) },
            GicKind::None | GicKind::Bcm2836 { .. } => None,
        };
        Self { frame, before: None }
    }

    /// Has an interrupt come after so many ticks, past the mask that holds all others back. Does nothing where it cannot.
    ///
    /// # Safety
    /// The interface is there and mapped, and masked by [`gic::mask`].
    pub(crate) unsafe fn start(&mut self, kind: GicKind, ticks: u64) {
        // SAFETY: forwarded to the caller.
        unsafe {
            if let (Some(frame), None) = (self.frame, self.before) {
                self.before = Some(let_in(frame));
            }
            let at = CNTPCT_EL0.get().saturating_add(ticks);
            write_system!("cnthp_cval_el2", at);
            write_system!("cnthp_ctl_el2", ENABLE);
            gic::admit_clock(kind);
        }
    }

    /// Switches the timer off. Returns whether it had come to its end.
    pub(crate) fn stop(&mut self) -> bool {
        let status = read_system!("cnthp_ctl_el2");
        // SAFETY: the timer is the hypervisor's own.
        unsafe {
            write_system!("cnthp_ctl_el2", 0u64);
            core::arch::asm!("isb", options(nostack, preserves_flags));
        }
        status & (ENABLE | STATUS) == ENABLE | STATUS
    }

    /// Gives the root VM its interrupt controller back as it was, but for the mask.
    ///
    /// # Safety
    /// As [`Clock::start`].
    pub(crate) unsafe fn put_back(&mut self) {
        self.stop();
        if let (Some(frame), Some(before)) = (self.frame, self.before.take()) {
            // SAFETY: forwarded to the caller.
            unsafe { restore(frame, before) };
        }
    }
}

/// # Safety
/// The frame is there, and mapped.
unsafe fn word(frame: u64, register: u64) -> *mut u32 {
    (frame + register) as *mut u32
}

/// Enables the timer's interrupt at the highest priority, in the group of some interrupt that the root VM uses.
///
/// # Safety
/// As [`word`].
unsafe fn let_in(frame: u64) -> Before {
    // SAFETY: the caller vouches for the registers; only PPI 26's bits in them change, and that is EL2's.
    unsafe {
        let priority = (frame + PRIORITY) as *mut u8;
        let (enabled, groups) = (word(frame, SET_ENABLE).read_volatile(), word(frame, GROUP).read_volatile());
        let before = Before {
            enabled: enabled >> PPI & 1 != 0,
            priority: priority.read_volatile(),
            group: groups >> PPI & 1,
        };
        let in_use = (enabled & !(1 << PPI)).trailing_zeros();
        set_group(frame, if in_use < u32::BITS { groups >> in_use & 1 } else { before.group });
        priority.write_volatile(0);
        word(frame, SET_ENABLE).write_volatile(1 << PPI);
        before
    }
}

/// # Safety
/// As [`word`].
unsafe fn restore(frame: u64, before: Before) {
    // SAFETY: as in `let_in`.
    unsafe {
        if !before.enabled {
            word(frame, CLEAR_ENABLE).write_volatile(1 << PPI);
        }
        ((frame + PRIORITY) as *mut u8).write_volatile(before.priority);
        set_group(frame, before.group);
    }
}

/// # Safety
/// As [`word`].
unsafe fn set_group(frame: u64, group: u32) {
    // SAFETY: forwarded to the caller.
    unsafe {
        let register = word(frame, GROUP);
        register.write_volatile(register.read_volatile() & !(1 << PPI) | group << PPI);
    }
}

/// The frame of SGIs and PPIs in this processor's redistributor (Arm IHI 0069, 12.10 and 12.11: GICR_TYPER).
///
/// # Safety
/// The range holds redistributors, and is mapped.
unsafe fn own_frame(range: Range) -> Option<u64> {
    const PAGE: u64 = 0x1_0000;
    const TYPE: u64 = 8;
    const LAST: u64 = 1 << 4;
    const VIRTUAL: u64 = 1 << 1;
    let own = own_affinity();
    let own = (own >> 32 & 0xFF) << 24 | own & 0xFF_FFFF;
    let mut at = range.start;
    while at.checked_add(2 * PAGE)? <= range.start.checked_add(range.size)? {
        // SAFETY: inside the range, says the line above; reading the type changes nothing.
        let kind = unsafe { ((at + TYPE) as *const u64).read_volatile() };
        if kind >> 32 == own {
            return Some(at + PAGE);
        }
        if kind & LAST != 0 {
            return None;
        }
        at += if kind & VIRTUAL != 0 { 4 * PAGE } else { 2 * PAGE };
    }
    None
}
