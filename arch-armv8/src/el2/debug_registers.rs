//! Accesses the processor's debug registers and debug locks, for a root VM that is stepped.

use crate::debug_registers::{Locks, OS_LOCK};
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
