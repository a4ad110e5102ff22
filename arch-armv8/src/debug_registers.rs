//! The debug registers of EL1 while the kernel single-steps the root VM, which owns them.
//!
//! A step is made by MDSCR_EL1.SS and MDCR_EL2.TDE. With TDE every access to a debug register is trapped, wanted or not (Arm ARM,
//! MDCR_EL2), and no step ends while the OS lock or the OS double lock is set (Arm ARM, D2.2), which are the root VM's to set
//! and are set after a reset. So the locks are open meanwhile, and what the root VM does with its registers is done here.

use crate::syndrome::register_number;

/// OSLSR_EL1.OSLK.
pub(crate) const OS_LOCK: u64 = 1 << 1;

const MDSCR: u64 = register_number(2, 0, 0, 2, 2);
const OSLAR: u64 = register_number(2, 0, 1, 0, 4);
const OSLSR: u64 = register_number(2, 0, 1, 1, 4);
const OSDLR: u64 = register_number(2, 0, 1, 3, 4);

/// The locks as the root VM has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Locks {
    /// OSLSR_EL1.OSLK.
    pub(crate) os: bool,
    /// OSDLR_EL1.
    pub(crate) double: u64,
}

impl Locks {
    /// OSLSR_EL1, which the machine says is `machine`.
    const fn status(self, machine: u64) -> u64 {
        machine & !OS_LOCK | if self.os { OS_LOCK } else { 0 }
    }
}

/// What the root VM has while it is stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shadow {
    pub(crate) locks: Locks,
    pub(crate) mdscr: u64,
}

impl Shadow {
    /// Reads register `number`; `machine` does so where it is not shadowed.
    pub(crate) fn read(&self, number: u64, machine: impl FnOnce(u64) -> Option<u64>) -> Option<u64> {
        match number {
            MDSCR => Some(self.mdscr),
            OSLSR => machine(number).map(|status| self.locks.status(status)),
            OSDLR => Some(self.locks.double),
            _ => machine(number),
        }
    }

    /// Writes register `number`; `machine` does so where it is not shadowed. Returns whether there is such a register.
    pub(crate) fn write(&mut self, number: u64, value: u64, machine: impl FnOnce(u64, u64) -> bool) -> bool {
        match number {
            MDSCR => self.mdscr = value,
            OSLAR => self.locks.os = value & 1 != 0,
            OSDLR => self.locks.double = value & 1,
            _ => return machine(number, value),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadow() -> Shadow {
        Shadow { locks: Locks { os: true, double: 1 }, mdscr: 0x8000 }
    }

    #[test]
    fn the_root_vm_reads_its_own_locks_and_not_those_of_the_step() {
        let open = |number| shadow().read(number, |_| Some(0x9));
        assert_eq!([OSLSR, OSDLR, MDSCR].map(open), [Some(0xB), Some(1), Some(0x8000)]);
        let locked = Shadow { locks: Locks::default(), mdscr: 0 };
        assert_eq!(locked.read(OSLSR, |_| Some(0xB)), Some(0x9));
        assert_eq!(shadow().read(0x8004, Some), Some(0x8004), "a breakpoint is the machine's");
        assert_eq!(shadow().read(0x8001, |_| None), None);
    }

    #[test]
    fn what_the_root_vm_writes_waits_for_the_end_of_the_step() {
        let mut changed = shadow();
        let machine = |_, _| panic!("not while it is stepped");
        for (number, value) in [(OSLAR, 0), (OSDLR, 0), (MDSCR, 0x2001)] {
            assert!(changed.write(number, value, machine));
        }
        assert_eq!(changed, Shadow { locks: Locks::default(), mdscr: 0x2001 });
        assert!(changed.write(OSLAR, 3, machine) && changed.locks.os);
        assert!(changed.write(0x8004, 5, |number, value| (number, value) == (0x8004, 5)));
    }
}
