//! What the processor can do, from its ID registers.

use aarch64_cpu::registers::{
    CurrentEL, HCR_EL2, ID_AA64DFR0_EL1, ID_AA64ISAR1_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1,
    ID_AA64PFR0_EL1, ID_AA64PFR1_EL1, Readable,
};
use plinth_launch::{LaunchError, LaunchStatus};

use crate::formats::USER_BITS;

/// What the backend asks of a processor or uses where it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    /// ID_AA64MMFR0_EL1.PARange as it goes into VTCR_EL2 and TCR_EL2.
    pub(crate) range: u64,
    /// VMIDs of 16 bits (FEAT_VMID16).
    pub(crate) wide_vmid: bool,
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
    fn read() -> Self {
        let (mmfr0, mmfr1) = (ID_AA64MMFR0_EL1.get(), ID_AA64MMFR1_EL1.get());
        let (pfr0, pfr1) = (ID_AA64PFR0_EL1.get(), ID_AA64PFR1_EL1.get());
        let (dfr0, isar1) = (ID_AA64DFR0_EL1.get(), ID_AA64ISAR1_EL1.get());
        let authentication = [4, 8, 24, 28].into_iter().any(|shift| field(isar1, shift) != 0);
        Self {
            range: field(mmfr0, 0).min(5),
            wide_vmid: field(mmfr1, 4) == 2,
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

/// Looks whether this processor can be launched.
pub(crate) fn probe() -> Result<Features, LaunchStatus> {
    let level = CurrentEL.read(CurrentEL::EL);
    if level != 2 {
        return Err(LaunchStatus::failed(LaunchError::WrongExceptionLevel, level));
    }
    let features = Features::read();
    let granule = field(ID_AA64MMFR0_EL1.get(), 28) != 0xF;
    let host_extensions = HCR_EL2.is_set(HCR_EL2::E2H);
    if !granule || host_extensions || features.physical_bits() < USER_BITS {
        return Err(LaunchStatus::failed(LaunchError::MissingFeature, ID_AA64MMFR0_EL1.get() & 0xFFFF_FFFF));
    }
    Ok(features)
}
