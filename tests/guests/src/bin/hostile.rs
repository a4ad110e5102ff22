//! Sets off an extension that makes hostile system calls: it must come back from them all.

#![no_std]
#![no_main]

use plinth_test_guests::driver;
use uefi::prelude::*;

#[entry]
fn main() -> Status {
    driver::run("hostile", 0, Ok(0))
}
