//! Sets a test extension off, and shows that the machine lives on.

use core::cell::Cell;

use plinth_test_extensions::{CONTAINED, NOT_CONTAINED, TEST_HYPERCALL};

use crate::calls::{self, NOT_SUPPORTED};
use crate::{Report, check, say, system, trap};

/// The extension is gone, and nobody takes hypercalls any more.
const NOBODY: u64 = u64::MAX - 1;

/// More test hypercalls than any test asks for.
const MANY: u64 = 100_000;

/// Makes the test hypercall as often as it says that something was contained once more, and goes on as if nothing had
/// happened. The argument is where the hypervisor's memory begins.
pub fn attack(report: &mut Report, kernel: u64) {
    let mut results = (0..MANY).map(|_| hypercall(TEST_HYPERCALL, kernel));
    let result = results.find(|result| *result != CONTAINED).unwrap_or(NOT_CONTAINED);
    check!(report, "hypercall", result == 0 || result == NOBODY);
    say!("attack: the hypercall's result is {result:#x}");
    check!(report, "lives", system::affinity() == system::affinity());
    let unknown = hypercall(0, 0);
    check!(report, "lives-unknown-call", unknown == NOT_SUPPORTED || unknown == NOBODY);
    // What came of one call is seen at the next.
    check!(report, "lives-again", hypercall(0, 0) == unknown);
}

/// The result of a hypercall; [`NOBODY`] where it is an undefined instruction.
fn hypercall(number: u64, argument: u64) -> u64 {
    let result = Cell::new(NOBODY);
    let fault = trap::catch(|| result.set(calls::hvc([number, argument, 0, 0])[0]));
    if fault.is_some() { NOBODY } else { result.get() }
}
