//! The debug registers of EL1 while the kernel single-steps the root VM, which owns them.
//!
//! A step is made by MDSCR_EL1.SS and MDCR_EL2.TDE. With TDE every access to a debug register is trapped, wanted or not (Arm ARM,
//! MDCR_EL2), and no step ends while the OS lock or the OS double lock is set (Arm ARM, D2.2), which are the root VM's to set
//! and are set after a reset. So the locks are open meanwhile, and what the root VM does with its registers is done here.

use crate::syndrome::register_number;

/// OSLSR_EL1.OSLK.
const OS_LOCK: u64 = 1 << 1;

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

#[cfg(target_arch = "aarch64")]
pub(crate) use hardware::*;

#[cfg(target_arch = "aarch64")]
mod hardware {
    use super::{Locks, OS_LOCK};
    use crate::sysreg::{read_system, write_system};

    impl Locks {
        /// Opens both. Returns what they were.
        pub(crate) fn open() -> Self {
            let was =
                Self { os: read_system!("oslsr_el1") & OS_LOCK != 0, double: read_system!("osdlr_el1") & 1 };
            Self::default().set();
            was
        }

        /// Sets them. In effect with the next context synchronization, as ERET is.
        pub(crate) fn set(self) {
            // SAFETY: locks of the OS's, which act on debug exceptions alone; EL2 has none.
            unsafe {
                write_system!("oslar_el1", u64::from(self.os));
                write_system!("osdlr_el1", self.double);
            }
        }
    }

    /// One register of each of 16 breakpoints or watchpoints.
    macro_rules! each_of_16 {
        ($act:ident, $number:expr, $op2:literal $(, $value:expr)?) => {
            each_of_16!(@ $act, $number, $op2, [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] $(, $value)?)
        };
        (@ read, $number:expr, $op2:literal, [$($n:literal)*]) => {
            match $number >> 3 & 0xF {
                $($n => Some(read_system!(concat!("S2_0_C0_C", $n, "_", $op2))),)*
                _ => None,
            }
        };
        (@ write, $number:expr, $op2:literal, [$($n:literal)*], $value:expr) => {
            match $number >> 3 & 0xF {
                // SAFETY: a register of the root VM's debugger, which exists, and acts on EL1 and EL0 alone.
                $($n => unsafe { write_system!(concat!("S2_0_C0_C", $n, "_", $op2), $value) },)*
                _ => return false,
            }
        };
    }

    /// Whether there is a breakpoint (`shift` 12) or watchpoint (20) of this number (ID_AA64DFR0_EL1).
    fn has(number: u64, shift: u32) -> bool {
        number >> 3 & 0xF <= read_system!("id_aa64dfr0_el1") >> shift & 0xF
    }

    /// Reads a debug register that is the root VM's. `None` for another.
    pub(crate) fn read(number: u64) -> Option<u64> {
        // All of Op0 2, Op1 0, CRn 0 with Op2 4 to 7: DBGBVR, DBGBCR, DBGWVR, DBGWCR.
        match number & !(0xF << 3) {
            0x8004 if has(number, 12) => return each_of_16!(read, number, 4),
            0x8005 if has(number, 12) => return each_of_16!(read, number, 5),
            0x8006 if has(number, 20) => return each_of_16!(read, number, 6),
            0x8007 if has(number, 20) => return each_of_16!(read, number, 7),
            _ => {}
        }
        Some(match number {
            0x8010 => read_system!("mdccint_el1"),
            0x8080 => read_system!("mdrar_el1"),
            0x808C => read_system!("oslsr_el1"),
            0x80A4 => read_system!("dbgprcr_el1"),
            0x83C6 => read_system!("dbgclaimset_el1"),
            0x83CE => read_system!("dbgclaimclr_el1"),
            0x83F6 => read_system!("dbgauthstatus_el1"),
            0x9808 => read_system!("mdccsr_el0"),
            _ => return None,
        })
    }

    /// Writes a debug register that is the root VM's. Returns false for another.
    pub(crate) fn write(number: u64, value: u64) -> bool {
        match number & !(0xF << 3) {
            0x8004 if has(number, 12) => each_of_16!(write, number, 4, value),
            0x8005 if has(number, 12) => each_of_16!(write, number, 5, value),
            0x8006 if has(number, 20) => each_of_16!(write, number, 6, value),
            0x8007 if has(number, 20) => each_of_16!(write, number, 7, value),
            // SAFETY: registers of the root VM's debugger, as EL1 would write them.
            _ => unsafe {
                match number {
                    0x8010 => write_system!("mdccint_el1", value),
                    0x80A4 => write_system!("dbgprcr_el1", value),
                    0x83C6 => write_system!("dbgclaimset_el1", value),
                    0x83CE => write_system!("dbgclaimclr_el1", value),
                    _ => return false,
                }
            },
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
