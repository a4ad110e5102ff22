//! The trap registers of EL2, computed from [`crate::id::register_table`]: they open or close what EL1 and EL0 can access.
//!
//! A pure function of the CPU's features. No other code sets a bit of these registers, except the bits that select the
//! translation ([`crate::trap_config`]).

use crate::features::Features;
use crate::id::register_table::{self, Groups, Root};

/// A register of EL2's that opens or closes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum El2 {
    /// HCR_EL2.
    Hcr,
    /// HCRX_EL2.
    Hcrx,
    /// CPTR_EL2 with HCR_EL2.E2H 0.
    Cptr,
    /// CPTR_EL2 with E2H 1, laid out as CPACR_EL1. What it closes there is closed to EL0 under the kernel alone, if a bit says so.
    CptrE2h,
    /// MDCR_EL2.
    Mdcr,
    /// CNTHCTL_EL2 with HCR_EL2.E2H 0.
    Cnthctl,
    /// CNTHCTL_EL2 with E2H 1.
    CnthctlE2h,
    /// HFGRTR_EL2 and HFGWTR_EL2, whose bits mean the same registers.
    Hfgrtr,
    /// HFGWTR_EL2.
    Hfgwtr,
    /// HFGITR_EL2.
    Hfgitr,
    /// HDFGRTR_EL2.
    Hdfgrtr,
    /// HDFGWTR_EL2.
    Hdfgwtr,
    /// HFGRTR2_EL2.
    Hfgrtr2,
    /// HFGWTR2_EL2.
    Hfgwtr2,
    /// HFGITR2_EL2.
    Hfgitr2,
    /// HDFGRTR2_EL2.
    Hdfgrtr2,
    /// HDFGWTR2_EL2.
    Hdfgwtr2,
    /// MPAM2_EL2.
    Mpam2,
    /// MPAMHCR_EL2.
    Mpamhcr,
    /// ICC_SRE_EL2.
    IccSre,
    /// BRBCR_EL2.
    Brbcr,
    /// PMSCR_EL2.
    Pmscr,
    /// SMCR_EL2.
    Smcr,
}

/// How many there are.
pub(crate) const REGISTERS: usize = El2::Smcr as usize + 1;

/// What one register has for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) register: El2,
    /// Where the group is open.
    pub(crate) open: u64,
    /// Where it is closed.
    pub(crate) closed: u64,
    /// Where the processor has it not: RES1 bits.
    pub(crate) absent: u64,
}

/// Bits that open the group.
pub(crate) const fn opens(register: El2, bits: u64) -> Control {
    Control { register, open: bits, closed: 0, absent: 0 }
}

/// Bits that close it.
pub(crate) const fn closes(register: El2, bits: u64) -> Control {
    Control { register, open: 0, closed: bits, absent: 0 }
}

impl Control {
    /// All bits that it is about.
    #[cfg(test)]
    pub(crate) const fn bits(&self) -> u64 {
        self.open | self.closed | self.absent
    }
}

/// For whom EL2 is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The root VM.
    Root,
    /// Another VM.
    Guest,
    /// The extension, to which all groups are closed. EL1 is out of use meanwhile, so what matters to it are CPTR_EL2 and
    /// MDCR_EL2; what it may do else at EL0 is what the root VM or the guest has allowed its own programs.
    Extension,
}

/// The values of the registers, by [`El2`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Controls([u64; REGISTERS]);

impl Controls {
    /// Those for `who` on a processor that has `present`.
    pub(crate) fn new(present: Groups, who: Who) -> Self {
        let mut values = [0; REGISTERS];
        for group in register_table::groups() {
            let open = match who {
                Who::Root => group.root != Root::Hidden,
                Who::Guest => group.is_open_to_guests(),
                Who::Extension => false,
            };
            for control in group.controls {
                values[control.register as usize] |= match (present.has(group.id), open) {
                    (false, _) => control.absent,
                    (true, true) => control.open,
                    (true, false) => control.closed,
                };
            }
        }
        Self(values)
    }

    /// One of them.
    pub(crate) const fn get(&self, register: El2) -> u64 {
        self.0[register as usize]
    }

    /// CPTR_EL2 as the processor has it laid out.
    pub(crate) const fn cptr(&self, features: &Features) -> u64 {
        const RES1: u64 = 0x22FF;
        if features.shared_regime { self.get(El2::CptrE2h) } else { self.get(El2::Cptr) | RES1 }
    }

    /// CNTHCTL_EL2 as the processor has it laid out.
    pub(crate) const fn cnthctl(&self, features: &Features) -> u64 {
        self.get(if features.shared_regime { El2::CnthctlE2h } else { El2::Cnthctl })
    }
}
