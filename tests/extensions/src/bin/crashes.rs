//! Faults at the test hypercall and has no fail callback: the kernel must keep the root VM.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Resume, extension};
use plinth_test_extensions::{at_test, fault};

struct Crashes;

impl Extension for Crashes {
    const HANDLES_FAILURE: bool = false;

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |_| {
            fault();
            Resume::AdvanceAndRun
        })
    }
}

extension!(Crashes);
