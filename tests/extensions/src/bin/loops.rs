//! Does not return from its vmexit callback where a guest asks for that, nor from its fail callback then.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Fault, Resume, extension, log};
use plinth_test_extensions::{at_test, is_loop};

struct Loops;

impl Extension for Loops {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        if is_loop(exit) { for_ever() } else { at_test(exit, |_| for_ever()) }
    }

    fn fail(&self, _exit: &mut Exit<'_>, fault: Option<Fault>) -> Resume {
        log::info!("loops in its fail callback too, after {fault:?}");
        for_ever()
    }
}

/// Needs nobody.
fn for_ever() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

extension!(Loops);
