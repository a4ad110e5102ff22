//! What the processor can do, from its ID registers.

use crate::id::controls::{Controls, Who};
use crate::id::facts::{DFR0, Facts, MMFR0, MMFR1, MMFR3, MMFR4, PFR0, PFR1};
use crate::id::fields_table;
use crate::id::register_table::{self, Groups, Id};

/// The CPU features that the backend requires, or uses if they are present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    /// ID_AA64MMFR0_EL1.PARange as it goes into VTCR_EL2 and TCR_EL2.
    pub(crate) range: u64,
    /// The kernel and the extension run in the EL2&0 translation regime (FEAT_VHE, HCR_EL2.E2H); else the extension runs
    /// on a stage 2 of its own.
    pub(crate) shared_regime: bool,
    /// VMIDs of 16 bits (FEAT_VMID16).
    pub(crate) wide_vmid: bool,
    /// Error records and VSESR_EL2 (FEAT_RAS).
    pub(crate) error_records: bool,
    /// SVE.
    pub(crate) sve: bool,
    /// SME.
    pub(crate) sme: bool,
    /// What the processor has of [`register_table`].
    pub(crate) present: Groups,
    /// How many event counters a performance monitor with the architecture's registers has (PMCR_EL0.N).
    pub(crate) counters: u64,
    /// EL2 may have no event counters of its own, and all are its own with MDCR_EL2.HPMN 0 (FEAT_HPMN0).
    pub(crate) no_counters: bool,
    /// MDCR_EL2.HPMD (FEAT_PMUv3p1).
    pub(crate) stops_events: bool,
    /// MDCR_EL2.HCCD (FEAT_PMUv3p5).
    pub(crate) stops_cycles: bool,
    /// Fine-grained traps (FEAT_FGT).
    pub(crate) fine_traps: bool,
    /// The second set of them (FEAT_FGT2).
    pub(crate) more_fine_traps: bool,
    /// HCRX_EL2 (FEAT_HCX).
    pub(crate) extended_hcr: bool,
    /// TCR2_EL2 (FEAT_TCR2).
    pub(crate) extended_tcr: bool,
    /// SCTLR2_EL2 (FEAT_SCTLR2).
    pub(crate) extended_sctlr: bool,
    /// The profiling buffer is this security state's to use (PMBIDR_EL1.P is 0), and so are the registers of EL2 and EL1 about it.
    pub(crate) profiling: bool,
    /// The trace buffer is (TRBIDR_EL1.P is 0).
    pub(crate) trace_buffer: bool,
    /// One of the two.
    pub(crate) records: bool,
    /// SMPRIMAP_EL2 (SMIDR_EL1.SMPS).
    pub(crate) streaming_priorities: bool,
    /// CPTR_EL2 with which all vectors are open, to the root VM and to the kernel.
    pub(crate) open_cptr: u64,
    /// The root VM's ID registers hide something that this processor has.
    pub(crate) hides_ids: bool,
}

impl Features {
    /// Bits of a physical address (Arm ARM, ID_AA64MMFR0_EL1.PARange), as far as the formats reach.
    pub(crate) const fn physical_bits(&self) -> u32 {
        match self.range {
            0 => 32,
            1 => 36,
            2 => 40,
            3 => 42,
            4 => 44,
            _ => 48,
        }
    }

    /// Those of a processor. `choice` is the command line's about the EL2&0 regime.
    pub(crate) fn of(facts: &Facts, choice: Option<bool>) -> Self {
        const SMPS: u64 = 1 << 15;
        const P: u64 = 1 << 4;
        let present = register_table::present(facts);
        let monitor = facts.field(DFR0, 8);
        let monitor = if monitor == 0xF { 0 } else { monitor };
        let features = Self {
            range: facts.field(MMFR0, 0).min(5),
            shared_regime: shares_regime(choice, facts),
            wide_vmid: facts.field(MMFR1, 4) == 2,
            error_records: facts.has(PFR0, 28, 1),
            sve: facts.has(PFR0, 32, 1),
            sme: facts.has(PFR1, 24, 1),
            present,
            counters: if monitor != 0 { facts.details.monitor >> 11 & 0x1F } else { 0 },
            no_counters: facts.has(DFR0, 60, 1),
            stops_events: monitor >= 4,
            stops_cycles: monitor >= 6,
            fine_traps: facts.has(MMFR0, 56, 1),
            more_fine_traps: facts.has(MMFR0, 56, 2),
            extended_hcr: facts.has(MMFR1, 40, 1),
            extended_tcr: facts.has(MMFR3, 0, 1),
            extended_sctlr: facts.has(MMFR3, 4, 1),
            profiling: present.has(Id::Profiling) && facts.details.profiling & P == 0,
            trace_buffer: present.has(Id::TraceBuffer) && facts.details.trace & P == 0,
            records: false,
            streaming_priorities: facts.details.streaming & SMPS != 0,
            open_cptr: 0,
            hides_ids: fields_table::hides_from_root(facts),
        };
        let records = features.profiling || features.trace_buffer;
        Self { records, open_cptr: Controls::new(present, Who::Root).cptr(&features), ..features }
    }
}

/// Whether the kernel and the extension share one translation regime: where the processor can do that and does not
/// speculate past permissions (FEAT_CSV3), because the extension's tables then map the kernel too. `choice` overrides the
/// latter; a processor that cannot clear HCR_EL2.E2H has no choice. FEAT_PAN keeps the kernel from the extension's pages.
fn shares_regime(choice: Option<bool>, facts: &Facts) -> bool {
    let present = facts.has(MMFR1, 8, 1) && facts.has(MMFR1, 20, 1);
    // E2H0: not 0 where E2H is fixed to 1.
    let fixed = facts.has(MMFR4, 24, 1);
    present && (fixed || choice.unwrap_or(facts.has(PFR0, 60, 1)))
}
