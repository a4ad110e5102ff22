//! Faults in `_start`.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Failure, Plinth, Resume, extension, passthrough};
use plinth_test_extensions::fault;

struct FaultsInStart;

impl Extension for FaultsInStart {
    fn start(&self, _plinth: Plinth) -> Result<(), Failure> {
        fault();
        Ok(())
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

extension!(FaultsInStart);
