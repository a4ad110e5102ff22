//! Masks the root VM's interrupts while the extension runs.
//!
//! The root VM owns the interrupt controller. An interrupt that is pending while EL0 runs under EL2 is nevertheless taken to
//! EL2, and the kernel must not acknowledge an interrupt of the root VM. So the kernel leaves the interrupt pending: the
//! first one raises the priority mask of this CPU's interface (PMR), and the next entry of the guest restores the mask. A
//! turn of the extension in which no interrupt arrives touches no register of the controller.
//!
//! Once interrupts are masked, no further interrupt brings the kernel back. From there on the hypervisor timer bounds the
//! extension's turn: its interrupt has the highest priority and passes the mask.

pub(crate) mod bcm2836;
pub(crate) mod hyp_timer;
pub(crate) mod icc;
pub(crate) mod redistributors;

use crate::gic::bcm2836::Controller;
use crate::machine::device_tree::GicKind;
use crate::mpidr::own_affinity;
use crate::sysreg::{read_system, write_system};

/// Offsets of GICC_PMR and GICC_RPR.
const GICC_PMR: u64 = 4;
const GICC_RPR: u64 = 0x14;

/// A priority mask that only priority 0 passes, on implementations with as few as 16 levels (Arm IHI 0048, 3.3; Arm IHI
/// 0069, 4.8).
const HIGHEST: u64 = 0x10;

/// The interrupt state from before [`mask`], for [`unmask`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held {
    /// GICv2 and GICv3: the priority mask.
    Priority(u64),
    /// BCM2836: the enables of the interrupt sources.
    Bcm2836(bcm2836::Held),
}

impl Held {
    /// Adds the sources that a second call of [`mask`] has disabled, so that [`unmask`] enables these too.
    pub(crate) fn add(&mut self, more: Option<Self>) {
        if let (Self::Bcm2836(held), Some(Self::Bcm2836(more))) = (self, more) {
            held.add_devices(&more);
        }
    }
}

/// The BCM2836's controller, as seen by this CPU.
pub(crate) fn bcm2836(local: u64, shared: u64) -> Controller {
    Controller { local, shared, processor: own_affinity() & 3 }
}

/// Whether the GICv2 interface has no active interrupt: GICC_RPR reads as the idle priority (Arm IHI 0048, GICC_RPR).
///
/// # Safety
/// The interface is there, and mapped.
pub(crate) unsafe fn is_idle(base: u64) -> bool {
    const IDLE: u32 = 0xFF;
    // SAFETY: the caller vouches for the device; reading the running priority changes nothing.
    unsafe { (base.wrapping_add(GICC_RPR) as *const u32).read_volatile() & IDLE == IDLE }
}

/// Masks all interrupts of this CPU. Returns the previous state for [`unmask`].
///
/// # Safety
/// The interface is there, and mapped for the kernel if it is memory mapped.
pub(crate) unsafe fn mask(gic: GicKind) -> Option<Held> {
    match gic {
        GicKind::None => None,
        GicKind::Bcm2836 { local, shared } => {
            // SAFETY: forwarded to the caller.
            Some(Held::Bcm2836(unsafe { bcm2836(local, shared).mask() }))
        }
        GicKind::V2(base) => {
            let register = base.wrapping_add(GICC_PMR) as *mut u32;
            // SAFETY: the caller vouches for the device; the register only holds interrupts back.
            let old = unsafe { register.read_volatile() };
            // SAFETY: as above.
            unsafe { register.write_volatile(0) };
            // SAFETY: a read back and a barrier: the interface has seen it.
            unsafe {
                register.read_volatile();
                core::arch::asm!("dsb sy", "isb", options(nostack, preserves_flags));
            }
            Some(Held::Priority(u64::from(old)))
        }
        GicKind::V3 => {
            let old = read_system!("S3_0_C4_C6_0");
            // SAFETY: ICC_PMR_EL1 only holds interrupts back; ICC_SRE_EL2.SRE is set.
            unsafe {
                write_system!("S3_0_C4_C6_0", 0u64);
                core::arch::asm!("isb", "dsb sy", "isb", options(nostack, preserves_flags));
            }
            Some(Held::Priority(old))
        }
    }
}

/// Opens the mask for the highest priority: for the hypervisor timer, and for interrupts of the root VM that have the same
/// priority.
///
/// # Safety
/// As [`mask`], which has been called.
pub(crate) unsafe fn admit_clock(gic: GicKind) {
    // SAFETY: as in `mask`.
    unsafe {
        match gic {
            GicKind::None => {}
            GicKind::Bcm2836 { local, shared } => bcm2836(local, shared).admit_clock(),
            GicKind::V2(base) => (base.wrapping_add(GICC_PMR) as *mut u32).write_volatile(HIGHEST as u32),
            GicKind::V3 => write_system!("S3_0_C4_C6_0", HIGHEST),
        }
    }
}

/// Restores the state from before [`mask`].
///
/// # Safety
/// As [`mask`], which returned `held`.
pub(crate) unsafe fn unmask(gic: GicKind, held: Held) {
    match (gic, held) {
        // SAFETY: the caller vouches for the device.
        (GicKind::V2(base), Held::Priority(old)) => unsafe {
            (base.wrapping_add(GICC_PMR) as *mut u32).write_volatile(old as u32);
        },
        // SAFETY: as in `mask`.
        (GicKind::V3, Held::Priority(old)) => unsafe { write_system!("S3_0_C4_C6_0", old) },
        (GicKind::Bcm2836 { local, shared }, Held::Bcm2836(held)) => {
            // SAFETY: forwarded to the caller.
            unsafe { bcm2836(local, shared).unmask(&held) }
        }
        _ => {}
    }
}
