//! The firmware's own timer goes on after it has been demoted: an event comes in time, again and again, while this application
//! does nothing but look at the counter.

#![no_std]
#![no_main]

use plinth_test_guests_efi::timer::{EVENTS, events};
use uefi::prelude::*;
use uefi::runtime::{self, ResetType};

#[entry]
fn main() -> Status {
    let seen = events().unwrap_or(0);
    let verdict = if seen == EVENTS { "ok" } else { "FAILED" };
    uefi::println!("TEST firmware-timer events={seen} {verdict}");
    runtime::reset(ResetType::SHUTDOWN, Status::SUCCESS, None)
}
