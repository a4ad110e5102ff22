//! An exception of the kernel's own, in words: what somebody needs who has nothing but the log.

use core::fmt::{self, Display, Formatter};

/// The exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KernelFault {
    pub(crate) vector: u64,
    pub(crate) error: u64,
    /// CR2: where the last page fault was about.
    pub(crate) address: u64,
    pub(crate) instruction: u64,
    pub(crate) stack: u64,
}

/// What the vectors are called (AMD APM vol. 2, 8.2; Intel SDM vol. 3A, 6.15).
const NAMES: [&str; 22] = [
    "divide error",
    "debug exception",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection fault",
    "page fault",
    "reserved vector",
    "x87 exception",
    "alignment check",
    "machine check",
    "SIMD exception",
    "virtualization exception",
    "control protection exception",
];

const DOUBLE_FAULT: u64 = 8;
/// The page fault.
pub(crate) const PAGE_FAULT: u64 = 14;

/// A page fault's error code (AMD APM vol. 2, 8.4.2).
const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const RESERVED: u64 = 1 << 3;
const FETCH: u64 = 1 << 4;

/// What one instruction pushes at the most, and then some.
const NEAR: u64 = 4096;

impl KernelFault {
    fn access(&self) -> &'static str {
        match (self.error & FETCH != 0, self.error & WRITE != 0) {
            (true, _) => "executed",
            (false, true) => "wrote",
            (false, false) => "read",
        }
    }

    fn why(&self) -> &'static str {
        match (self.error & RESERVED != 0, self.error & PRESENT != 0) {
            (true, _) => "by a broken entry",
            (false, true) => "against its permissions",
            (false, false) => "where nothing is mapped",
        }
    }

    /// A double fault because the stack has run into what is below it.
    fn is_overflow(&self) -> bool {
        self.vector == DOUBLE_FAULT && self.stack.wrapping_sub(self.address) <= NEAR
    }
}

impl Display for KernelFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { vector, error, address, instruction, stack } = self;
        let name = NAMES.get(*vector as usize).unwrap_or(&"exception");
        write!(f, "{name} in the kernel")?;
        match *vector {
            PAGE_FAULT => write!(f, ": it {} {address:#x}, {}", self.access(), self.why())?,
            _ if self.is_overflow() => write!(f, ": its stack has overflowed, into {address:#x}")?,
            _ => {}
        }
        write!(f, " (vector {vector}, error {error:#x}) at {instruction:#x}, stack {stack:#x}")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    const FAULT: KernelFault =
        KernelFault { vector: PAGE_FAULT, error: 0, address: 0x1008, instruction: 0x2000, stack: 0x3000 };

    #[test]
    fn a_page_fault_says_what_was_done_where_and_why_that_was_wrong() {
        assert_eq!(
            FAULT.to_string(),
            "page fault in the kernel: it read 0x1008, where nothing is mapped (vector 14, error 0x0) at 0x2000, stack 0x3000"
        );
        let text = |error| KernelFault { error, ..FAULT }.to_string();
        assert!(
            text(PRESENT | WRITE).contains("it wrote 0x1008, against its permissions (vector 14, error 0x3)")
        );
        assert!(
            text(PRESENT | FETCH)
                .contains("it executed 0x1008, against its permissions (vector 14, error 0x11)")
        );
        assert!(text(PRESENT | RESERVED).contains("by a broken entry"));
    }

    #[test]
    fn a_stack_that_runs_over_is_named() {
        let fault = KernelFault { vector: DOUBLE_FAULT, address: 0x2FF8, ..FAULT };
        assert!(
            fault
                .to_string()
                .starts_with("double fault in the kernel: its stack has overflowed, into 0x2ff8")
        );
        let fault = KernelFault { vector: DOUBLE_FAULT, ..FAULT };
        assert!(fault.to_string().starts_with("double fault in the kernel (vector 8, error 0x0)"));
    }

    #[test]
    fn any_vector_has_words() {
        let text = |vector| KernelFault { vector, error: 0x10, ..FAULT }.to_string();
        assert!(text(13).starts_with("general protection fault in the kernel (vector 13, error 0x10)"));
        assert!(text(30).starts_with("exception in the kernel (vector 30"));
    }
}
