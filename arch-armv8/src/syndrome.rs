//! ESR_EL2: why an exception was taken (Arm ARM, D19.2, ESR_EL2).

/// Exception classes, bits 31:26.
pub(crate) mod class {
    /// WFI; WFE is not trapped.
    pub(crate) const WAIT: u64 = 0x01;
    /// HVC from AArch64.
    pub(crate) const HVC: u64 = 0x16;
    /// SMC from AArch64.
    pub(crate) const SMC: u64 = 0x17;
    /// MSR, MRS or a system instruction.
    pub(crate) const SYSTEM: u64 = 0x18;
    /// SVC from AArch64.
    pub(crate) const SVC: u64 = 0x15;
    /// An instruction fetch from a lower exception level.
    pub(crate) const INSTRUCTION_ABORT: u64 = 0x20;
    /// A data access from a lower exception level.
    pub(crate) const DATA_ABORT: u64 = 0x24;
    /// An instruction of pointer authentication, or of the stores of 64 bytes.
    pub(crate) const POINTER_AUTHENTICATION: u64 = 0x09;
    pub(crate) const WIDE_STORE: u64 = 0x0A;
    /// MSRR, MRRS or a system instruction with 128 bits.
    pub(crate) const SYSTEM_128: u64 = 0x14;
    /// An instruction of SVE, of transactions, of SME.
    pub(crate) const SVE: u64 = 0x19;
    pub(crate) const TRANSACTION: u64 = 0x1B;
    pub(crate) const SME: u64 = 0x1D;
    /// A hardware breakpoint at a lower exception level.
    pub(crate) const BREAKPOINT: u64 = 0x30;
    /// Software step from a lower exception level.
    pub(crate) const STEP: u64 = 0x32;
    /// A watchpoint at a lower exception level.
    pub(crate) const WATCHPOINT: u64 = 0x34;
    /// BKPT of AArch32.
    pub(crate) const BKPT: u64 = 0x38;
    /// BRK of AArch64.
    pub(crate) const BRK: u64 = 0x3C;
    /// What an exception level finds of its own has the number of a lower one's plus this.
    pub(crate) const SAME_LEVEL: u64 = 1;

    /// Whether there are two classes, one for a lower exception level's and one for the own.
    pub(crate) const fn has_levels(class: u64) -> bool {
        matches!(class, INSTRUCTION_ABORT | DATA_ABORT | BREAKPOINT | STEP | WATCHPOINT)
    }

    /// Whether it is an instruction that EL2 has closed, and would be undefined on a processor that lacks it.
    pub(crate) const fn is_hidden(class: u64) -> bool {
        matches!(class, POINTER_AUTHENTICATION | WIDE_STORE | SYSTEM_128 | SVE | TRANSACTION | SME)
    }

    /// Whether FAR says where.
    pub(crate) const fn has_address(class: u64) -> bool {
        matches!(class, INSTRUCTION_ABORT | DATA_ABORT | WATCHPOINT)
    }
}

/// The whole register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Syndrome(pub(crate) u64);

impl Syndrome {
    /// The exception class.
    #[inline]
    pub(crate) const fn class(self) -> u64 {
        self.0 >> 26 & 0x3F
    }

    /// The rest: ISS.
    #[inline]
    pub(crate) const fn details(self) -> u64 {
        self.0 & 0x01FF_FFFF
    }

    /// Aborts: the access was a write (and not a cache maintenance instruction's).
    pub(crate) const fn is_write(self) -> bool {
        const CACHE_MAINTENANCE: u64 = 1 << 8;
        const WRITE: u64 = 1 << 6;
        self.class() == class::DATA_ABORT && self.0 & WRITE != 0 && self.0 & CACHE_MAINTENANCE == 0
    }

    /// The exception is one of the guest's own debugger (but for a step).
    pub(crate) const fn is_debug(self) -> bool {
        matches!(self.class(), class::BREAKPOINT | class::WATCHPOINT | class::BKPT | class::BRK)
    }

    /// Aborts: the access was made by the walk of the guest's own tables.
    pub(crate) const fn is_walk(self) -> bool {
        self.0 & 1 << 7 != 0
    }

    /// Aborts: nothing is mapped. At which level the walk ended is not looked at.
    pub(crate) const fn is_unmapped(self) -> bool {
        self.0 & 0x3C == 0x04
    }

    /// Aborts: the fault is one of permissions, so that HPFAR_EL2 does not say where.
    pub(crate) const fn is_permission(self) -> bool {
        self.0 & 0x3C == 0x0C
    }

    /// Aborts: the fault is stage 2's own, not one of the bus or of alignment.
    pub(crate) const fn is_translation(self) -> bool {
        matches!(self.0 & 0x3C, 0x00 | 0x04 | 0x08 | 0x0C)
    }

    /// System instructions: the register as the ABI numbers it, Op0 15:14, Op1 13:11, CRn 10:7, CRm 6:3, Op2 2:0.
    #[inline]
    pub(crate) const fn register(self) -> u64 {
        let iss = self.0;
        (iss >> 20 & 3) << 14
            | (iss >> 14 & 7) << 11
            | (iss >> 10 & 0xF) << 7
            | (iss >> 1 & 0xF) << 3
            | iss >> 17 & 7
    }

    /// System instructions: the general register.
    #[inline]
    pub(crate) const fn general(self) -> u64 {
        self.0 >> 5 & 0x1F
    }

    /// HVC and SMC: the immediate, which is 0 where SMCCC reaches the firmware.
    #[inline]
    pub(crate) const fn immediate(self) -> u64 {
        self.0 & 0xFFFF
    }

    /// System instructions: it reads.
    #[inline]
    pub(crate) const fn is_read(self) -> bool {
        self.0 & 1 != 0
    }
}

/// A register as the ABI numbers it.
pub(crate) const fn register_number(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// The number of Op0 3, Op1 0, CRn 0, CRm 0, Op2 0.
pub(crate) const ID_REGISTER_BASE: u64 = 3 << 14;

/// Whether a register is one of the ID registers that HCR_EL2.TID3 traps: from there on, those with CRm 1 to 7.
#[inline]
pub(crate) const fn is_id_register(register: u64) -> bool {
    const FIRST: u64 = ID_REGISTER_BASE | 1 << 3;
    const LAST: u64 = ID_REGISTER_BASE | 7 << 3 | 7;
    FIRST <= register && register <= LAST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trapped_read_of_an_id_register_is_understood() {
        // mrs x3, ID_AA64MMFR0_EL1: Op0 3, Op1 0, CRn 0, CRm 7, Op2 0.
        let syndrome = Syndrome(0x18 << 26 | 1 << 25 | 3 << 20 | 3 << 5 | 7 << 1 | 1);
        assert_eq!(syndrome.register(), 0xC038);
        assert_eq!((syndrome.general(), syndrome.is_read()), (3, true));
        assert!(is_id_register(syndrome.register()));
        for other in [1 << 14, 1 << 10, 1 << 21, 1 << 4] {
            assert!(!is_id_register(Syndrome(syndrome.0 ^ other).register()), "{other:#x}");
        }
        assert!(is_id_register(0xC008) && is_id_register(0xC03F), "the first and the last");
        assert!(!is_id_register(0xC007) && !is_id_register(0xC040), "their neighbours");
        assert!(!is_id_register(0xC000), "MIDR_EL1");
        assert!(!is_id_register(0xC080), "SCTLR_EL1");
    }

    #[test]
    fn faults_are_told_apart() {
        let abort = |rest: u64| Syndrome(0x24 << 26 | rest);
        assert!(abort(0x4F).is_permission() && abort(0x4F).is_write());
        assert!(!abort(0x07).is_permission() && !abort(0x07).is_write());
        assert!(abort(0x07).is_unmapped() && abort(0x04).is_unmapped() && !abort(0x4F).is_unmapped());
        assert!(!abort(0x10).is_translation(), "an external abort");
        assert!(!abort(1 << 8 | 0x4F).is_write(), "DC CIVAC");
    }
}
