//! Sets off an extension that crashes: the kernel takes over, and knows no such hypercall.

#![no_std]
#![no_main]

use plinth_test_guests::driver;
use uefi::prelude::*;

#[entry]
fn main() -> Status {
    driver::run("crash", 0, driver::NOBODY)
}
