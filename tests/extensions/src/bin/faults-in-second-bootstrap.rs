//! Faults in its bootstrap callback on every PP but the first.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Failure, Pp, Resume, extension, passthrough, root};
use plinth_test_extensions::fault;

struct FaultsInSecondBootstrap;

impl Extension for FaultsInSecondBootstrap {
    fn bootstrap(&self, pp: Pp) -> Result<Resume, Failure> {
        if pp.index() != 0 {
            fault();
        }
        root::boot(pp)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

extension!(FaultsInSecondBootstrap);
