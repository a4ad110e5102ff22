//! Faults in its bootstrap callback on the third PP alone.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Failure, Pp, Resume, extension, passthrough, root};
use plinth_test_extensions::fault;

struct FaultsInThirdBootstrap;

impl Extension for FaultsInThirdBootstrap {
    fn bootstrap(&self, pp: Pp) -> Result<Resume, Failure> {
        if pp.index() == 2 {
            fault();
        }
        root::boot(pp)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

extension!(FaultsInThirdBootstrap);
