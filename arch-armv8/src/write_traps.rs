//! Writes of the registers that control the guest's stage 1 (Arm ARM, HCR_EL2.TVM). The hardware traps all of them or none.
//! The kernel carries out the writes that the extension has not asked for, without an exit.

/// The registers, in the order of their bits in a VM's mask.
const REGISTERS: [u64; 11] = [
    sysreg(1, 0, 0),  // SCTLR_EL1
    sysreg(2, 0, 0),  // TTBR0_EL1
    sysreg(2, 0, 1),  // TTBR1_EL1
    sysreg(2, 0, 2),  // TCR_EL1
    sysreg(5, 1, 0),  // AFSR0_EL1
    sysreg(5, 1, 1),  // AFSR1_EL1
    sysreg(5, 2, 0),  // ESR_EL1
    sysreg(6, 0, 0),  // FAR_EL1
    sysreg(10, 2, 0), // MAIR_EL1
    sysreg(10, 3, 0), // AMAIR_EL1
    sysreg(13, 0, 1), // CONTEXTIDR_EL1
];

/// The encoding of a register with Op0 3 and Op1 0.
const fn sysreg(crn: u64, crm: u64, op2: u64) -> u64 {
    3 << 14 | crn << 7 | crm << 3 | op2
}

/// The bit of a register in a VM's mask; `None` for one whose writes cannot be trapped this way.
pub(crate) fn bit(register: u64) -> Option<u64> {
    REGISTERS.iter().position(|known| *known == register).map(|index| 1 << index)
}

/// Whether the extension has not asked for this write: `mask` has other registers of the group alone.
#[inline]
pub(crate) fn trapped_by_neighbour(register: u64, mask: u64) -> bool {
    mask != 0 && bit(register).is_some_and(|bit| mask & bit == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_exits() {
        let [sctlr, ttbr0, ..] = REGISTERS;
        let mask = bit(sctlr).unwrap();
        assert_eq!((mask, bit(0xC600)), (1, None));
        assert!(!trapped_by_neighbour(sctlr, mask), "asked for");
        assert!(trapped_by_neighbour(ttbr0, mask), "trapped with it");
        assert!(!trapped_by_neighbour(ttbr0, 0), "nothing is trapped");
        assert!(!trapped_by_neighbour(0xC600, mask), "VBAR_EL1");
    }
}
