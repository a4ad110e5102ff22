//! Has the kernel fail on every processor but the one of the test hypercall, by an overflow of its stack: that one lives on.

#![no_std]
#![no_main]

use plinth_extension_api::abi::MAX_PPS;
use plinth_extension_api::{Exit, ExitClass, Extension, Resume, extension};
use plinth_test_extensions::faults::{self, OVERFLOW};
use plinth_test_extensions::{CONTAINED, at_test};

/// Long enough for the last words of the others.
const PAUSE: u64 = 10_000_000;

struct Overflows;

impl Extension for Overflows {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        if exit.class() == ExitClass::Attention {
            faults::call(OVERFLOW);
            return Resume::Run;
        }
        at_test(exit, |exit| {
            let others = (0..MAX_PPS).filter(|pp| *pp != exit.pp());
            if others.filter(|pp| exit.plinth().pp_kick(*pp).is_ok()).count() != 0 {
                return exit.answer_hypercall(CONTAINED);
            }
            (0..PAUSE).for_each(|_| core::hint::spin_loop());
            exit.answer_hypercall(0)
        })
    }
}

extension!(Overflows);
