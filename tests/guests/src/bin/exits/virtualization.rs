//! The instructions of the processor's own virtualization extension: undefined, as on a processor without them.

use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, plinth, virtualization};

/// A hypercall that nobody knows.
const UNKNOWN: u64 = 0x0123_4567_89ab_cdef;

pub(super) fn run(report: &mut Report) {
    for instruction in virtualization::instructions() {
        let expected = (Some(Fault::undefined(instruction.length)), true);
        check!(report, instruction.name, instruction.run(), expected);
    }
    let result = plinth::hypercall(UNKNOWN, 0);
    check!(report, "hypercall-unknown", result.is_err_and(|fault| fault.vector == 6));
}
