//! Makes a million hostile system calls at the test hypercall.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Resume, extension, log};
use plinth_test_extensions::{at_test, hostile};

struct HostileSyscalls;

impl Extension for HostileSyscalls {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |exit| {
            let tally = hostile::attack(exit);
            log::info!("hostile: {} calls, {} refused, {} leaks", tally.calls, tally.failures, tally.leaks);
            exit.answer_hypercall(tally.leaks)
        })
    }
}

extension!(HostileSyscalls);
