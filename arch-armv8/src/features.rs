//! What the processor can do, from its ID registers.

use core::sync::atomic::{AtomicBool, Ordering};

use aarch64_cpu::registers::{
    CurrentEL, ID_AA64DFR0_EL1, ID_AA64ISAR1_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, ID_AA64PFR0_EL1,
    ID_AA64PFR1_EL1, Readable,
};
use plinth_launch::{LaunchError, LaunchStatus};

use crate::formats::USER_BITS;

/// What the backend asks of a processor or uses where it is there.
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
    /// Pointer authentication.
    pub(crate) pointer_authentication: bool,
    /// Memory tagging with tags in memory (FEAT_MTE2).
    pub(crate) tagging: bool,
    /// Fine-grained traps (FEAT_FGT).
    pub(crate) fine_traps: bool,
    /// HCRX_EL2 (FEAT_HCX).
    pub(crate) extended_hcr: bool,
    /// Statistical profiling.
    pub(crate) profiling: bool,
    /// The trace buffer.
    pub(crate) trace_buffer: bool,
    /// A performance monitor with the architecture's registers.
    pub(crate) monitor: bool,
}

/// Whether a processor was met on which EL0 is AArch64 alone (ID_AA64PFR0_EL1.EL0): not all of a machine's need be alike.
static LACKS_AARCH32: AtomicBool = AtomicBool::new(false);

/// Takes note of the processor that runs this.
pub(crate) fn note_execution_states() {
    if field(ID_AA64PFR0_EL1.get(), 0) != 2 {
        LACKS_AARCH32.store(true, Ordering::Relaxed);
    }
}

/// Whether EL0 may be AArch32 on every processor that has come under Plinth.
pub(crate) fn every_processor_has_aarch32() -> bool {
    !LACKS_AARCH32.load(Ordering::Relaxed)
}

const fn field(register: u64, shift: u32) -> u64 {
    register >> shift & 0xF
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

    /// Reads the ID registers.
    fn read(choice: Option<bool>) -> Self {
        let (mmfr0, mmfr1) = (ID_AA64MMFR0_EL1.get(), ID_AA64MMFR1_EL1.get());
        let (pfr0, pfr1) = (ID_AA64PFR0_EL1.get(), ID_AA64PFR1_EL1.get());
        let (dfr0, isar1) = (ID_AA64DFR0_EL1.get(), ID_AA64ISAR1_EL1.get());
        let authentication = [4, 8, 24, 28].into_iter().any(|shift| field(isar1, shift) != 0);
        Self {
            range: field(mmfr0, 0).min(5),
            shared_regime: shares_regime(choice, mmfr1, pfr0),
            wide_vmid: field(mmfr1, 4) == 2,
            error_records: field(pfr0, 28) != 0,
            sve: field(pfr0, 32) != 0,
            sme: field(pfr1, 24) != 0,
            pointer_authentication: authentication || crate::host::has_qarma3(),
            tagging: field(pfr1, 8) >= 2,
            fine_traps: field(mmfr0, 56) != 0,
            extended_hcr: field(mmfr1, 40) != 0,
            profiling: field(dfr0, 32) != 0,
            trace_buffer: field(dfr0, 44) != 0,
            monitor: !matches!(field(dfr0, 8), 0 | 0xF),
        }
    }
}

/// Whether the kernel and the extension share one translation regime: where the processor can do that and does not
/// speculate past permissions (FEAT_CSV3), because the extension's tables then map the kernel too. `choice` overrides the
/// latter; a processor that cannot clear HCR_EL2.E2H has no choice. FEAT_PAN keeps the kernel from the extension's pages.
fn shares_regime(choice: Option<bool>, mmfr1: u64, pfr0: u64) -> bool {
    let (present, safe) = (field(mmfr1, 8) != 0 && field(mmfr1, 20) != 0, field(pfr0, 60) != 0);
    // ID_AA64MMFR4_EL1.E2H0: not 0 where E2H is fixed to 1.
    let fixed = field(crate::host::read_system!("S3_0_C0_C7_4"), 24) != 0;
    present && (fixed || choice.unwrap_or(safe))
}

/// Looks whether this processor can be launched.
pub(crate) fn probe(choice: Option<bool>) -> Result<Features, LaunchStatus> {
    let level = CurrentEL.read(CurrentEL::EL);
    if level != 2 {
        return Err(LaunchStatus::failed(LaunchError::WrongExceptionLevel, level));
    }
    let features = Features::read(choice);
    let granule = field(ID_AA64MMFR0_EL1.get(), 28) != 0xF;
    if !granule || features.physical_bits() < USER_BITS {
        return Err(LaunchStatus::failed(LaunchError::MissingFeature, ID_AA64MMFR0_EL1.get() & 0xFFFF_FFFF));
    }
    Ok(features)
}
