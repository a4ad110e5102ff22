//! Sets off an extension that reads the hypervisor's memory, whose address it gets in RBX: it must be contained.

#![no_std]
#![no_main]

use plinth_test_extensions::CONTAINED;
use plinth_test_guests::{driver, reservation};
use uefi::prelude::*;

/// Not mapped in any case: where the hypervisor's memory cannot be found.
const NOWHERE: u64 = 0x1000;

#[entry]
fn main() -> Status {
    let address = reservation::find().map_or(NOWHERE, |reservation| reservation.start);
    driver::run("reads-kernel", address, Ok(CONTAINED))
}
