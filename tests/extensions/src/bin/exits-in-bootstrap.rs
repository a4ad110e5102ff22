//! Gives up in its bootstrap callback.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Failure, Pp, Resume, extension, passthrough};

struct ExitsInBootstrap;

impl Extension for ExitsInBootstrap {
    fn bootstrap(&self, _pp: Pp) -> Result<Resume, Failure> {
        Ok(Resume::GiveUp)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

extension!(ExitsInBootstrap);
