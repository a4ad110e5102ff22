//! Has a kernel that is made for it do what its own protections must stop: by a system call, and by a fault that comes with
//! all the flags that user mode can set.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::{Exit, Extension, Fault, Resume, extension};
use plinth_test_extensions::faults::{self, COMMIT};
use plinth_test_extensions::{CONTAINED, at_test};

struct Hardening {
    /// Test hypercalls so far.
    turns: AtomicU64,
}

impl Extension for Hardening {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |exit| match self.turns.fetch_add(1, Ordering::Relaxed) {
            0 => {
                faults::call(COMMIT);
                exit.answer_hypercall(CONTAINED)
            }
            1 => {
                faults::fault(COMMIT);
                exit.answer_hypercall(CONTAINED)
            }
            _ => exit.answer_hypercall(0),
        })
    }

    fn fail(&self, exit: &mut Exit<'_>, _: Option<Fault>) -> Resume {
        exit.answer_hypercall(CONTAINED)
    }
}

extension!(Hardening = Hardening { turns: AtomicU64::new(0) });
