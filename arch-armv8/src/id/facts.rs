//! What a CPU reports about itself: the values of its ID registers, and of a few others that describe a feature.
//!
//! Read once on each CPU. Everything that depends on them ([`crate::features`], [`crate::id::register_table`],
//! [`crate::id::fields_table`]) is computed from this value alone, so that the host tests can describe CPUs that no emulator
//! has.

/// An ID register by its place: CRm and Op2 of Op0 3, Op1 0, CRn 0 (Arm ARM, D12.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdRegister(u8);

const fn id(crm: u8, op2: u8) -> IdRegister {
    IdRegister(crm << 3 | op2)
}

/// ID_AA64PFR0_EL1 and the others of its kind.
pub(crate) const PFR0: IdRegister = id(4, 0);
pub(crate) const PFR1: IdRegister = id(4, 1);
pub(crate) const PFR2: IdRegister = id(4, 2);
pub(crate) const ZFR0: IdRegister = id(4, 4);
pub(crate) const SMFR0: IdRegister = id(4, 5);
pub(crate) const FPFR0: IdRegister = id(4, 7);
pub(crate) const DFR0: IdRegister = id(5, 0);
pub(crate) const DFR1: IdRegister = id(5, 1);
pub(crate) const DFR2: IdRegister = id(5, 2);
pub(crate) const AFR0: IdRegister = id(5, 4);
pub(crate) const ISAR0: IdRegister = id(6, 0);
pub(crate) const ISAR1: IdRegister = id(6, 1);
pub(crate) const ISAR2: IdRegister = id(6, 2);
pub(crate) const ISAR3: IdRegister = id(6, 3);
pub(crate) const MMFR0: IdRegister = id(7, 0);
pub(crate) const MMFR1: IdRegister = id(7, 1);
pub(crate) const MMFR2: IdRegister = id(7, 2);
pub(crate) const MMFR3: IdRegister = id(7, 3);
pub(crate) const MMFR4: IdRegister = id(7, 4);

/// As many as CRm and Op2 can tell apart; those with CRm 0 are no ID registers that can be trapped, and stay 0.
pub(crate) const ID_REGISTERS: usize = 64;

impl IdRegister {
    /// That of an encoding, as the ABI numbers it.
    pub(crate) const fn of(encoding: u64) -> Self {
        Self((encoding % ID_REGISTERS as u64) as u8)
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether it describes AArch32: MVFR and the ID registers without AA64 (Arm ARM, D12.3.1).
    pub(crate) const fn is_aarch32(self) -> bool {
        1 <= self.0 >> 3 && self.0 >> 3 <= 3
    }
}

/// Registers that describe a single feature; 0 if the CPU does not have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    /// PMCR_EL0.
    pub(crate) monitor: u64,
    /// PMBIDR_EL1.
    pub(crate) profiling: u64,
    /// TRBIDR_EL1.
    pub(crate) trace: u64,
    /// MPAMIDR_EL1.
    pub(crate) partitioning: u64,
    /// SMIDR_EL1.
    pub(crate) streaming: u64,
}

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) ids: [u64; ID_REGISTERS],
    pub(crate) details: Details,
}

impl Facts {
    /// A field of four bits.
    pub(crate) const fn field(&self, register: IdRegister, shift: u32) -> u64 {
        self.ids[register.index()] >> shift & 0xF
    }

    /// Whether an unsigned field is as high as that.
    pub(crate) const fn has(&self, register: IdRegister, shift: u32, least: u64) -> bool {
        self.field(register, shift) >= least
    }
}

#[cfg(test)]
impl Facts {
    /// One whose ID registers are 0 but for these fields.
    pub(crate) fn with(fields: &[(IdRegister, u32, u64)]) -> Self {
        let mut facts = Self { ids: [0; ID_REGISTERS], details: Details::default() };
        for (register, shift, value) in fields {
            facts.ids[register.index()] |= value << shift;
        }
        facts
    }

    /// One that has everything: each bit of each ID register is 1, but for the version of the monitor. (In FP and DoubleLock that
    /// means nothing.)
    pub(crate) fn all() -> Self {
        let details =
            Details { monitor: 6 << 11, partitioning: u64::MAX, streaming: u64::MAX, ..Details::default() };
        let mut ids = [u64::MAX; ID_REGISTERS];
        ids[DFR0.index()] = !(0xF << 8) | 9 << 8;
        Self { ids, details }
    }
}
