//! Makes system calls with the trap flag set: the trap must not be taken in the kernel.

#![no_std]
#![no_main]

use plinth_extension_api::extension;
use plinth_test_extensions::forbidden::{Attempts, Forbidden};

extension!(Attempts = Attempts(Forbidden::traced()));
