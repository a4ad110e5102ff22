//! Reads the address in the guest's RBX at the test hypercall, which is to be the kernel's: it must fault.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Fault, Resume, extension, log};
use plinth_test_extensions::{CONTAINED, NOT_CONTAINED, argument, at_test, peek};

struct ReadsKernel;

impl Extension for ReadsKernel {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |exit| {
            let address = argument(exit);
            log::error!("not contained: {:#x} at {address:#x}", peek(address));
            exit.answer_hypercall(NOT_CONTAINED)
        })
    }

    fn fail(&self, exit: &mut Exit<'_>, fault: Option<Fault>) -> Resume {
        let Some(fault) = fault else { return Resume::GiveUp };
        log::info!("contained: vector {} at {:#x}", fault.vector, fault.address);
        exit.answer_hypercall(CONTAINED)
    }
}

extension!(ReadsKernel);
