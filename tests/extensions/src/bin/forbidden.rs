//! Attempts, one for each test hypercall, everything that an extension must not do, but for `traced-calls`. The argument
//! is where the hypervisor's memory is.

#![no_std]
#![no_main]

use plinth_extension_api::extension;
use plinth_test_extensions::forbidden::{Attempts, Forbidden};

extension!(Attempts = Attempts(Forbidden::new()));
