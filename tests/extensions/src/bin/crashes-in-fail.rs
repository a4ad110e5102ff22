//! Faults at the test hypercall, and in its fail callback again.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Fault, Resume, extension, log};
use plinth_test_extensions::{at_test, fault};

struct CrashesInFail;

impl Extension for CrashesInFail {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |_| {
            fault();
            Resume::AdvanceAndRun
        })
    }

    fn fail(&self, _exit: &mut Exit<'_>, _fault: Option<Fault>) -> Resume {
        log::info!("fails in its fail callback");
        fault();
        Resume::AdvanceAndRun
    }
}

extension!(CrashesInFail);
