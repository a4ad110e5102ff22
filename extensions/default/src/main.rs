//! The default extension: the root VM finds the machine that it was running on.
//!
//! Every exit comes here and is answered by [`passthrough`]: CPUID with Plinth's signature and without the
//! virtualization extension, the registers and instructions of that extension as if they did not exist,
//! the hypercalls that stop Plinth and report exit counts.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Resume, extension, passthrough};

struct Default;

impl Extension for Default {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

extension!(Default, groups: [VP, VS, INTRINSIC]);
