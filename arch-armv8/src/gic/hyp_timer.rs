//! The hypervisor timer (CNTHP): bounds a turn of the extension, and ends a guest's run at its deadline.
//!
//! The timer's interrupt, PPI 26, passes through the root VM's interrupt controller. So the kernel enables it there only
//! while interrupts come to EL2: after the extension was interrupted once and everything else is masked ([`crate::gic`]), or
//! while a guest runs that has a deadline. Before the root VM takes its interrupts itself again, its configuration is
//! restored. The kernel never acknowledges the interrupt: a disabled timer no longer signals it, and an interrupt that was
//! not acknowledged is not active.
//!
//! EL1 cannot use CNTHP, so the root VM loses no interrupt. In the EL2&0 regime the timer and its register names are the
//! same.

use aarch64_cpu::registers::{CNTPCT_EL0, Readable};

use crate::gic::bcm2836::Controller;
use crate::machine::device_tree::{GicKind, PrivateRegisters};
use crate::machine::private_interrupts::PPI;
use crate::sysreg::{read_system, write_system};
use crate::{gic, gic::redistributors};

/// Registers of SGIs and PPIs, at the same offsets in GICv2's distributor and in a frame of GICv3's redistributor (Arm
/// IHI 0048, 4.3; Arm IHI 0069, 12.9 and 12.10).
const GROUP: u64 = 0x80;
const SET_ENABLE: u64 = 0x100;
const CLEAR_ENABLE: u64 = 0x180;
const PRIORITY: u64 = 0x400 + PPI as u64;

/// CNTHP_CTL_EL2: ENABLE and ISTATUS.
const ENABLE: u64 = 1 << 0;
const STATUS: u64 = 1 << 2;

/// The machine's counter.
pub fn counter() -> u64 {
    CNTPCT_EL0.get()
}

/// The timer of this processor, and what stands in its interrupt's way.
#[derive(Debug)]
pub(crate) struct HypTimer {
    line: Line,
    /// The compare value, in ticks of the counter, while the timer runs.
    deadline: Option<u64>,
    /// The root VM's configuration of the timer's interrupt, saved while the timer runs; restored when the timer stops.
    before: Option<Before>,
}

/// Where the timer's interrupt is enabled and prioritised.
#[derive(Clone, Copy, Debug)]
enum Line {
    Nowhere,
    /// GICv2: at this address, the distributor's registers of this CPU's private interrupts.
    Private(u64),
    /// GICv3: at this address, the SGI and PPI frame of this CPU's redistributor.
    Redistributor(u64),
    Bcm2836(Controller),
}

/// The interrupt's configuration as the root VM has it.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    enabled: bool,
    priority: u8,
    group: u32,
}

impl HypTimer {
    /// This processor's.
    ///
    /// # Safety
    /// `private` is what the device tree says of the registers of private interrupts, mapped.
    pub(crate) unsafe fn new(kind: GicKind, private: &PrivateRegisters) -> Self {
        let mut there = private.iter().filter(|range| range.size != 0);
        let frame = match kind {
            GicKind::V2(_) => there.next().map(|range| range.start),
            // SAFETY: forwarded to the caller.
            GicKind::V3 => unsafe { redistributors::own_frame(private) },
            _ => None,
        };
        let line = match kind {
            GicKind::Bcm2836 { local, shared } => Line::Bcm2836(gic::bcm2836(local, shared)),
            GicKind::V3 => frame.map_or(Line::Nowhere, Line::Redistributor),
            _ => frame.map_or(Line::Nowhere, Line::Private),
        };
        Self { line, deadline: None, before: None }
    }

    /// Starts the timer for `deadline`, an absolute counter value, with the root VM's interrupts left enabled. Returns false
    /// where the timer's interrupt cannot be enabled.
    ///
    /// # Safety
    /// [`HypTimer::new`] was told the truth; as long as the timer runs, interrupts come to EL2.
    pub(crate) unsafe fn arm(&mut self, deadline: u64) -> bool {
        // SAFETY: forwarded to the caller.
        let there = unsafe { self.let_in() };
        if there {
            self.set(deadline);
        }
        there
    }

    /// The running timer's compare value.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Enables the timer's interrupt again: the root VM may have reconfigured its controller since.
    ///
    /// # Safety
    /// As [`HypTimer::arm`].
    pub(crate) unsafe fn reenable(&self) {
        if let (Line::Private(frame) | Line::Redistributor(frame), Some(_)) = (self.line, self.before) {
            // SAFETY: forwarded to the caller. What it was before is known.
            let _ = unsafe { let_in(frame, self.line.enabled_group()) };
        }
    }

    /// Starts the timer for `ticks` from now and opens the priority mask for it alone. Does nothing where the interrupt
    /// cannot be enabled.
    ///
    /// # Safety
    /// The interface is there and mapped, and masked by [`gic::mask`].
    pub(crate) unsafe fn start(&mut self, kind: GicKind, ticks: u64) {
        // SAFETY: forwarded to the caller.
        unsafe {
            self.let_in();
            self.set(CNTPCT_EL0.get().saturating_add(ticks));
            gic::admit_clock(kind);
        }
    }

    /// Whether the timer runs and has expired (CNTHP_CTL_EL2.ISTATUS).
    pub(crate) fn is_expired(&self) -> bool {
        read_system!("cnthp_ctl_el2") & (ENABLE | STATUS) == ENABLE | STATUS
    }

    /// Stops the timer. Returns whether it had expired.
    pub(crate) fn stop(&mut self) -> bool {
        let rung = self.is_expired();
        self.deadline = None;
        // SAFETY: the timer is the hypervisor's own.
        unsafe {
            write_system!("cnthp_ctl_el2", 0u64);
            core::arch::asm!("isb", options(nostack, preserves_flags));
        }
        rung
    }

    /// Whether the root VM has enabled private interrupt `ppi` on this CPU. True where the controller does not show that.
    ///
    /// # Safety
    /// As [`HypTimer::arm`].
    pub(crate) unsafe fn lets_in(&self, ppi: u32) -> bool {
        match self.line {
            // SAFETY: forwarded to the caller.
            Line::Private(frame) | Line::Redistributor(frame) => unsafe {
                word(frame, SET_ENABLE).read_volatile().checked_shr(ppi).is_none_or(|bits| bits & 1 != 0)
            },
            Line::Bcm2836(_) | Line::Nowhere => true,
        }
    }

    /// Programs the compare value and enables the timer.
    fn set(&mut self, deadline: u64) {
        self.deadline = Some(deadline);
        // SAFETY: the timer is the hypervisor's own.
        unsafe {
            write_system!("cnthp_cval_el2", deadline);
            write_system!("cnthp_ctl_el2", ENABLE);
        }
    }

    /// Enables the timer's interrupt, unless it is enabled already. Returns false where that is impossible.
    ///
    /// # Safety
    /// As [`HypTimer::arm`].
    unsafe fn let_in(&mut self) -> bool {
        if self.before.is_some() {
            return true;
        }
        // SAFETY: forwarded to the caller.
        self.before = unsafe {
            match self.line {
                Line::Nowhere => None,
                Line::Private(frame) | Line::Redistributor(frame) => {
                    Some(let_in(frame, self.line.enabled_group()))
                }
                Line::Bcm2836(own) => Some(Before { enabled: own.let_clock_in(true), ..Before::default() }),
            }
        };
        self.before.is_some()
    }

    /// Stops the timer and restores the root VM's configuration of its interrupt. The priority mask is [`gic::unmask`]'s to
    /// restore.
    ///
    /// # Safety
    /// As [`HypTimer::arm`] or [`HypTimer::start`].
    pub(crate) unsafe fn put_back(&mut self) {
        self.stop();
        let Some(before) = self.before.take() else { return };
        // SAFETY: forwarded to the caller.
        unsafe {
            match self.line {
                Line::Nowhere => {}
                Line::Private(frame) | Line::Redistributor(frame) => restore(frame, before),
                Line::Bcm2836(own) => _ = own.let_clock_in(before.enabled),
            }
        }
    }
}

/// # Safety
/// The frame is there, and mapped.
unsafe fn word(frame: u64, register: u64) -> *mut u32 {
    frame.wrapping_add(register) as *mut u32
}

impl Line {
    /// The interrupt group that the root VM takes as IRQs, if ICC_IGRPEN1_EL1 shows it: group 1 where that is enabled.
    fn enabled_group(self) -> Option<u32> {
        // ICC_SRE_EL2.SRE, without which ICC_IGRPEN1_EL1 is undefined here too.
        let visible = || read_system!("S3_4_C12_C9_5") & 1 != 0;
        let group_1 = || read_system!("S3_0_C12_C12_7") & 1 != 0;
        (matches!(self, Self::Redistributor(_)) && visible() && group_1()).then_some(1)
    }
}

/// Enables the timer's interrupt at the highest priority: in `group`, or else in the group of some interrupt that the root
/// VM has enabled.
///
/// # Safety
/// As [`word`].
unsafe fn let_in(frame: u64, group: Option<u32>) -> Before {
    let _held = redistributors::hold();
    // SAFETY: the caller vouches for the registers; only PPI 26's bits in them change, and that is EL2's.
    unsafe {
        let priority = frame.wrapping_add(PRIORITY) as *mut u8;
        let (enabled, groups) = (word(frame, SET_ENABLE).read_volatile(), word(frame, GROUP).read_volatile());
        let before = Before {
            enabled: enabled >> PPI & 1 != 0,
            priority: priority.read_volatile(),
            group: groups >> PPI & 1,
        };
        let in_use = (enabled & !(1 << PPI)).trailing_zeros();
        let used = || if in_use < u32::BITS { groups >> in_use & 1 } else { before.group };
        set_group(frame, group.unwrap_or_else(used));
        priority.write_volatile(0);
        word(frame, SET_ENABLE).write_volatile(1 << PPI);
        before
    }
}

/// # Safety
/// As [`word`].
unsafe fn restore(frame: u64, before: Before) {
    let _held = redistributors::hold();
    // SAFETY: as in `let_in`.
    unsafe {
        if !before.enabled {
            word(frame, CLEAR_ENABLE).write_volatile(1 << PPI);
        }
        (frame.wrapping_add(PRIORITY) as *mut u8).write_volatile(before.priority);
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
