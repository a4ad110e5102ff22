//! Takes its time for each exit, and long for one CPUID leaf: as many rounds as the subleaf says.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, ExitClass, Extension, Resume, extension, passthrough};
use plinth_test_extensions::SLOW_LEAF;

/// Rounds for any other exit.
const ROUNDS: u32 = 10_000;

struct Slow;

impl Extension for Slow {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let asked = exit.class() == ExitClass::IdRead && exit.general(0) as u32 == SLOW_LEAF;
        let rounds = if asked { exit.general(1) as u32 } else { ROUNDS };
        (0..rounds).for_each(|_| core::hint::spin_loop());
        passthrough::vmexit(exit)
    }
}

extension!(Slow);
