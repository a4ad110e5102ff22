//! What Plinth's default extension answers.

use plinth_extension_api::abi::{HYPERCALL_COUNT, HYPERCALL_REPORT};

use crate::calls;

/// A hypercall that goes through the extension and changes nothing. Returns whether it was understood.
pub fn report() -> bool {
    calls::hvc([HYPERCALL_REPORT, 0, 0, 0])[0] == 0
}

/// How many exits this processor has had, this call's included.
pub fn exits() -> u64 {
    calls::hvc([HYPERCALL_COUNT, 0, 0, 0])[0]
}
