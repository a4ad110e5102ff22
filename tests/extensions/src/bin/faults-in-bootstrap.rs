//! Faults in its bootstrap callback.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Failure, Pp, Resume, extension, passthrough, root};
use plinth_test_extensions::fault;

struct FaultsInBootstrap;

impl Extension for FaultsInBootstrap {
    fn bootstrap(&self, pp: Pp) -> Result<Resume, Failure> {
        fault();
        root::boot(pp)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

extension!(FaultsInBootstrap);
