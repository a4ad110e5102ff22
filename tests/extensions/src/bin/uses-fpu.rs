//! Executes a SIMD instruction at the test hypercall: it must fault.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Fault, Resume, extension, log};
use plinth_test_extensions::{CONTAINED, NOT_CONTAINED, at_test, use_simd};

struct UsesFpu;

impl Extension for UsesFpu {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |exit| {
            use_simd();
            log::error!("not contained: a SIMD instruction");
            exit.answer_hypercall(NOT_CONTAINED)
        })
    }

    fn fail(&self, exit: &mut Exit<'_>, fault: Option<Fault>) -> Resume {
        let Some(fault) = fault else { return Resume::GiveUp };
        log::info!("contained: vector {} at {:#x}", fault.vector, fault.address);
        exit.answer_hypercall(CONTAINED)
    }
}

extension!(UsesFpu);
