//! What EL2 and the registers that EL0 shares hold while a guest or the extension runs.
//!
//! What is opened and closed follows from [`crate::id::controls`]; here is what says where EL1 and EL0 run, and which event counters
//! count. All of it is a pure function of what the processor has.

#[cfg(target_arch = "aarch64")]
use aarch64_cpu::registers::{
    CPTR_EL2, HCR_EL2, MDCR_EL2, MDSCR_EL1, Readable, SCTLR_EL1, SP_EL0, TPIDR_EL0, VTCR_EL2, VTTBR_EL2,
    Writeable,
};
use plinth_hal::Spa;

use crate::features::Features;
use crate::id::controls::{Controls, El2, Who};
use crate::paging::formats::Stage2Format;

/// HCR_EL2.E2H: EL2&0 is the regime of EL2.
pub(crate) const HCR_E2H: u64 = 1 << 34;
/// HCR_EL2.TGE: EL0 is EL2's, and EL1 is out of use.
pub(crate) const HCR_TGE: u64 = 1 << 27;
/// HCR_EL2.RW: EL1 is AArch64.
pub(crate) const HCR_RW: u64 = 1 << 31;
/// HCR_EL2.VM: there is a stage 2. SWIO: what is invalidated by set and way is cleaned too.
pub(crate) const HCR_STAGE_2: u64 = 1 << 0 | 1 << 1;
/// HCR_EL2.DC: EL0 has no stage 1, and its memory is cached.
const HCR_DC: u64 = 1 << 12;
/// HCR_EL2.TID3: reads of ID registers are trapped.
pub(crate) const HCR_TID3: u64 = 1 << 18;
/// HCR_EL2.IMO: IRQs come to EL2, and EL1 has virtual ones.
const HCR_IMO: u64 = 1 << 4;

/// MDCR_EL2.TDE: debug exceptions go to EL2.
pub(crate) const MDCR_TDE: u64 = 1 << 8;
/// MDCR_EL2.HPMD and HCCD: EL1's event counters, and the cycle counter, do not count at EL2.
const MDCR_HPMD: u64 = 1 << 17;
const MDCR_HCCD: u64 = 1 << 23;

/// SCTLR_EL1 with the MMU and the caches off: its RES1 bits (Arm ARM, SCTLR_EL1).
pub(crate) const SCTLR_RESET: u64 = 0x30D0_0800;

/// What EL2 holds for the lower level that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrapConfig {
    pub(crate) hcr: u64,
    pub(crate) vttbr: u64,
    pub(crate) vtcr: u64,
    pub(crate) cptr: u64,
    pub(crate) mdcr: u64,
}

impl TrapConfig {
    /// The extension's: EL0 alone (TGE), without a stage 1 (DC), on a stage 2 with the tag 0. FP, SVE, SME, debug and
    /// performance monitors are trapped: an extension that uses them faults, so nothing leaks either way.
    pub(crate) fn user(features: &Features, root: Spa) -> Self {
        let controls = Controls::new(features.present, Who::Extension);
        let (cptr, mdcr) = (controls.cptr(features), mdcr(features, &controls, Who::Extension) | MDCR_TDE);
        if features.shared_regime {
            // EL0 is translated by the kernel's own tables; what is there of stage 2 is out of use.
            return Self { hcr: HCR_RW | HCR_E2H | HCR_TGE, vttbr: 0, vtcr: 1 << 31, cptr, mdcr };
        }
        let format = Stage2Format::user(features.physical_bits());
        Self {
            hcr: HCR_RW | HCR_TGE | HCR_DC | HCR_STAGE_2,
            vttbr: root.raw(),
            vtcr: format.control(features.range, features.wide_vmid),
            cptr,
            mdcr,
        }
    }

    /// A VM's, but for the root of stage 2, which is the processor's own. `tag` is the VM's.
    pub(crate) fn of_vm(features: &Features, is_root: bool, tag: u16) -> Self {
        let who = if is_root { Who::Root } else { Who::Guest };
        let controls = Controls::new(features.present, who);
        let format = Stage2Format::new(features.physical_bits());
        let mut hcr = HCR_RW | HCR_STAGE_2 | controls.get(El2::Hcr);
        if features.shared_regime {
            hcr |= HCR_E2H;
        }
        if is_root && features.hides_ids {
            hcr |= HCR_TID3;
        }
        Self {
            hcr,
            vttbr: u64::from(tag) << 48,
            vtcr: format.control(features.range, features.wide_vmid),
            cptr: controls.cptr(features),
            mdcr: mdcr(features, &controls, who),
        }
    }

    /// Whether EL1's interrupts are virtual ones.
    #[inline]
    pub(crate) fn has_virtual_interrupts(&self) -> bool {
        self.hcr & HCR_IMO != 0
    }
}

/// MDCR_EL2. Event counters from HPMN on are EL2's, which never counts (HPME is 0): all are the root VM's while that runs, and as
/// few as the processor allows while others do, so that it counts no event of theirs. The cycle counter goes on for them.
fn mdcr(features: &Features, controls: &Controls, who: Who) -> u64 {
    let least = u64::from(!features.no_counters).min(features.counters);
    let counters = if who == Who::Root { features.counters } else { least };
    let events = if features.stops_events { MDCR_HPMD } else { 0 };
    let cycles = if features.stops_cycles { MDCR_HCCD } else { 0 };
    controls.get(El2::Mdcr) | counters | events | cycles
}

/// Puts a regime into the processor.
///
/// The order matters where the processor may begin a translation of EL1's by speculation (Cortex-A57 and A72, erratum
/// 1319367): between its two halves it sees the stage 2 of the one with the stage 1 of the other, and keeps what it finds with the
/// tag in VTTBR_EL2. So HCR_EL2 changes while that is the extension's, whose stage 2 leads to its own pages alone.
#[cfg(target_arch = "aarch64")]
impl TrapConfig {
    /// A guest's. What follows must be a context synchronization, as ERET is.
    #[inline]
    pub(crate) fn load(&self) {
        HCR_EL2.set(self.hcr);
        synchronize();
        self.load_rest();
    }

    /// The extension's. The same.
    #[inline]
    pub(crate) fn load_user(&self) {
        self.load_rest();
        synchronize();
        HCR_EL2.set(self.hcr);
    }

    #[inline(always)]
    fn load_rest(&self) {
        VTTBR_EL2.set(self.vttbr);
        VTCR_EL2.set(self.vtcr);
        CPTR_EL2.set(self.cptr);
        MDCR_EL2.set(self.mdcr);
    }
}

/// Whether the processor has the extension's regime.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn is_users() -> bool {
    HCR_EL2.get() & HCR_TGE != 0
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn synchronize() {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// What the guest has in the registers that EL0 uses too.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy)]
pub(crate) struct GuestEl0 {
    sp: u64,
    thread: u64,
}

#[cfg(target_arch = "aarch64")]
impl GuestEl0 {
    /// Takes it out and gives EL0 the extension's stack and thread register.
    #[inline]
    pub(crate) fn replace(sp: u64, thread: u64) -> Self {
        let guest = Self { sp: SP_EL0.get(), thread: TPIDR_EL0.get() };
        Self { sp, thread }.load();
        guest
    }

    #[inline]
    pub(crate) fn load(self) {
        SP_EL0.set(self.sp);
        TPIDR_EL0.set(self.thread);
    }
}

/// SCTLR_EL1 and MDSCR_EL1 of a guest, where what it has there would disturb the extension.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuestControl {
    sctlr: Option<u64>,
    mdscr: u64,
}

#[cfg(target_arch = "aarch64")]
impl GuestControl {
    /// Whether the guest's control registers would disturb the extension: by alignment checks or big-endian data
    /// (SCTLR_EL1, which governs EL0 too unless the regime is EL2&0), or by debug exceptions.
    #[inline]
    pub(crate) fn disturbs(shared_regime: bool) -> bool {
        const ALIGNMENT_CHECK: u64 = 1 << 1;
        const BIG_ENDIAN: u64 = 1 << 24;
        const DEBUG: u64 = 1 << 0 | 7 << 13;
        MDSCR_EL1.get() & DEBUG != 0
            || !shared_regime && SCTLR_EL1.get() & (ALIGNMENT_CHECK | BIG_ENDIAN) != 0
    }

    /// Takes them out and makes EL0 the extension's: little endian, unaligned accesses allowed, no debug exceptions.
    #[cold]
    pub(crate) fn replace(shared_regime: bool) -> Self {
        let sctlr = (!shared_regime).then(|| SCTLR_EL1.get());
        let guest = Self { sctlr, mdscr: MDSCR_EL1.get() };
        Self { sctlr: sctlr.map(|_| SCTLR_RESET), mdscr: 0 }.load();
        guest
    }

    /// Puts them back.
    #[cold]
    pub(crate) fn load(self) {
        MDSCR_EL1.set(self.mdscr);
        if let Some(sctlr) = self.sctlr {
            SCTLR_EL1.set(sctlr);
        }
    }
}

#[cfg(test)]
mod tests;
