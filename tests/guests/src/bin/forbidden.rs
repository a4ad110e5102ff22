//! Sets off an extension that attempts what it must not do, once for each thing that stops it: all must be contained.

#![no_std]
#![no_main]

use plinth_test_extensions::CONTAINED;
use plinth_test_guests::{driver, reservation};
use uefi::prelude::*;

#[entry]
fn main() -> Status {
    let kernel = reservation::find().map_or(0, |reservation| reservation.start);
    driver::run_while("forbidden", kernel, CONTAINED, Ok(0))
}
