//! Gives up in `_start`.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Failure, Plinth, Resume, extension, passthrough, syscall};

struct ExitsInStart;

impl Extension for ExitsInStart {
    fn start(&self, _plinth: Plinth) -> Result<(), Failure> {
        syscall::exit()
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

extension!(ExitsInStart);
