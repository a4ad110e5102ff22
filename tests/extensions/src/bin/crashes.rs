//! Asks to see a port, faults at the test hypercall, and has no fail callback: the kernel must keep the root VM.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Resume, VmId, extension};
use plinth_test_extensions::{CRASH_PORT, at_test, fault};

struct Crashes;

impl Extension for Crashes {
    const HANDLES_FAILURE: bool = false;

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |exit| {
            // Arm has no ports.
            let _ = exit.plinth().vm_intercept_ports(VmId::ROOT, CRASH_PORT, 1, true);
            fault();
            Resume::AdvanceAndRun
        })
    }
}

extension!(Crashes);
