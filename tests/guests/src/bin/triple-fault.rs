//! Shuts the processor down by a triple fault, which restarts the machine: under Plinth as without.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_test_guests::{Report, say, trap};
use uefi::prelude::*;

#[entry]
fn main() -> Status {
    let _report = Report::new("triple-fault");
    say!("TEST triple-fault begins");
    trap::load(0, 0);
    // SAFETY: No exception can be delivered any more: the processor shuts down here, as this test wants.
    unsafe { asm!("cli", "ud2", options(noreturn)) }
}
