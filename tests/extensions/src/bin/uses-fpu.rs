//! Executes an SSE instruction at the test hypercall: it must fault.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Fault, Resume, extension, log};
use plinth_test_extensions::{CONTAINED, NOT_CONTAINED, at_test, use_sse};

struct UsesFpu;

impl Extension for UsesFpu {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |exit| {
            use_sse();
            log::error!("not contained: an SSE instruction");
            exit.set_rax(NOT_CONTAINED);
            Resume::AdvanceAndRun
        })
    }

    fn fail(&self, exit: &mut Exit<'_>, fault: Option<Fault>) -> Resume {
        let Some(fault) = fault else { return Resume::GiveUp };
        log::info!("contained: vector {} at {:#x}", fault.vector, fault.address);
        exit.set_rax(CONTAINED);
        Resume::AdvanceAndRun
    }
}

extension!(UsesFpu);
