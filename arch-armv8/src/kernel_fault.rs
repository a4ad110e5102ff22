//! The report of an exception that the kernel itself has taken at EL2, for a reader who has only the log.

use core::fmt::{self, Display, Formatter};

use crate::syndrome::{Syndrome, class};

/// The exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OwnFault {
    pub(crate) syndrome: Syndrome,
    /// FAR_EL2.
    pub(crate) address: u64,
    pub(crate) instruction: u64,
    pub(crate) stack: u64,
}

/// What one instruction stores below the stack pointer at the most, and then some.
const NEAR: u64 = 4096;

const OWN_INSTRUCTION_ABORT: u64 = class::INSTRUCTION_ABORT + class::SAME_LEVEL;
const OWN_DATA_ABORT: u64 = class::DATA_ABORT + class::SAME_LEVEL;

impl OwnFault {
    /// What was done to an address, if the exception is about one.
    pub(crate) fn access(&self) -> Option<&'static str> {
        const WRITE: u64 = 1 << 6;
        match self.syndrome.class() {
            OWN_INSTRUCTION_ABORT => Some("executed"),
            OWN_DATA_ABORT if self.syndrome.0 & WRITE != 0 => Some("wrote"),
            OWN_DATA_ABORT => Some("read"),
            _ => None,
        }
    }

    fn why(&self) -> &'static str {
        match self.syndrome {
            syndrome if syndrome.is_unmapped() => "where nothing is mapped",
            syndrome if syndrome.is_permission() => "against its permissions",
            _ => "which failed",
        }
    }

    /// The stack has run into what is below it.
    fn is_overflow(&self) -> bool {
        let distance = self.stack.wrapping_sub(self.address);
        self.access() == Some("wrote")
            && self.syndrome.is_unmapped()
            && distance.wrapping_add(NEAR) <= 2 * NEAR
    }
}

impl Display for OwnFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { syndrome, address, instruction, stack } = self;
        write!(f, "exception in the kernel")?;
        match self.access() {
            Some(_) if self.is_overflow() => write!(f, ": its stack has overflowed, into {address:#x}")?,
            Some(access) => write!(f, ": it {access} {address:#x}, {}", self.why())?,
            None => {}
        }
        write!(
            f,
            " (class {:#x}, ESR {:#x}) at {instruction:#x}, stack {stack:#x}",
            syndrome.class(),
            syndrome.0
        )
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::{String, ToString};

    fn text(class: u64, details: u64) -> String {
        let syndrome = Syndrome(class << 26 | 1 << 25 | details);
        OwnFault { syndrome, address: 0x5000, instruction: 0x2000, stack: 0x9000 }.to_string()
    }

    #[test]
    fn an_abort_says_what_was_done_where_and_why_that_was_wrong() {
        assert_eq!(
            text(0x25, 0x07),
            "exception in the kernel: it read 0x5000, where nothing is mapped (class 0x25, ESR 0x96000007) at 0x2000, stack 0x9000"
        );
        assert!(text(0x25, 0x4F).contains("it wrote 0x5000, against its permissions (class 0x25"));
        assert!(text(0x21, 0x0F).contains("it executed 0x5000, against its permissions (class 0x21"));
        assert!(text(0x25, 0x10).contains("it read 0x5000, which failed"));
    }

    #[test]
    fn a_stack_that_runs_over_is_named() {
        let syndrome = Syndrome(0x25 << 26 | 0x47);
        let fault = OwnFault { syndrome, address: 0x5FF0, instruction: 0x2000, stack: 0x6000 };
        assert!(fault.to_string().contains("its stack has overflowed, into 0x5ff0 (class 0x25"));
        // Pre-indexed: the stack pointer is where it was.
        let fault = OwnFault { stack: 0x5FF0, ..fault };
        assert!(fault.to_string().contains("its stack has overflowed, into 0x5ff0"));
    }

    #[test]
    fn any_class_has_words() {
        assert!(text(0x00, 0).starts_with("exception in the kernel (class 0x0, ESR 0x2000000) at 0x2000"));
    }
}
