//! Faults at the test hypercall and has no fail callback; if it is asked for anything on another PP afterwards, it faults there
//! too.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, Ordering};

use plinth_extension_api::{Exit, Extension, Failure, Pp, Resume, extension, root};
use plinth_test_extensions::{at_test, fault};

struct DeadBootstrap;

static IS_DEAD: AtomicBool = AtomicBool::new(false);

impl Extension for DeadBootstrap {
    const HANDLES_FAILURE: bool = false;

    fn bootstrap(&self, pp: Pp) -> Result<Resume, Failure> {
        if IS_DEAD.load(Ordering::SeqCst) {
            fault();
        }
        root::boot(pp)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |_| {
            IS_DEAD.store(true, Ordering::SeqCst);
            fault();
            Resume::AdvanceAndRun
        })
    }
}

extension!(DeadBootstrap);
