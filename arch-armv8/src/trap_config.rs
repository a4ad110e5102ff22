//! The EL2 configuration (HCR_EL2, VTTBR_EL2, VTCR_EL2, CPTR_EL2, MDCR_EL2) with which a guest or the extension runs.
//!
//! [`crate::id::controls`] computes what is trapped. This file adds where EL1 and EL0 are translated, and which event
//! counters count. All of it is a pure function of the CPU's features.

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

/// The EL2 configuration for the lower exception level that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrapConfig {
    pub(crate) hcr: u64,
    pub(crate) vttbr: u64,
    pub(crate) vtcr: u64,
    pub(crate) cptr: u64,
    pub(crate) mdcr: u64,
}

impl TrapConfig {
    /// The extension's: EL0 alone (TGE), without a stage 1 (DC), on a stage 2 with VMID 0. FP, SVE, SME, debug registers and
    /// performance monitors are trapped. An extension that uses them faults, so their contents leak in neither direction.
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

    /// A VM's, without the stage-2 root, which is the CPU's own. `tag` is the VMID.
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

    /// Whether EL1 receives virtual interrupts.
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

#[cfg(test)]
mod tests;
