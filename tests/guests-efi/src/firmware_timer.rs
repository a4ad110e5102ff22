//! The firmware's own timer goes on after it has been demoted: an event comes in time, again and again, while this application
//! does nothing but look at the counter.

#![no_std]
#![no_main]

use core::time::Duration;

use uefi::boot::{self, EventType, TimerTrigger, Tpl};
use uefi::prelude::*;
use uefi::runtime::{self, ResetType};

/// How often the event is to come, every tenth of a second, and how long that may take.
const EVENTS: u32 = 5;
const PERIOD: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);
/// How long each look at the counter takes.
const STEP: Duration = Duration::from_millis(1);

/// Counts events. `None` where the firmware does not make one.
fn events() -> Option<u32> {
    // SAFETY: an event without a function.
    let event = unsafe { boot::create_event(EventType::TIMER, Tpl::CALLBACK, None, None) }.ok()?;
    boot::set_timer(&event, TimerTrigger::Periodic(PERIOD)).ok()?;
    let mut seen = 0;
    let mut waited = Duration::ZERO;
    while seen < EVENTS && waited < PATIENCE {
        boot::stall(STEP);
        waited += STEP;
        seen += u32::from(boot::check_event(&event).unwrap_or(false));
    }
    boot::close_event(event).ok()?;
    Some(seen)
}

#[entry]
fn main() -> Status {
    let seen = events().unwrap_or(0);
    let verdict = if seen == EVENTS { "ok" } else { "FAILED" };
    uefi::println!("TEST firmware-timer events={seen} {verdict}");
    runtime::reset(ResetType::SHUTDOWN, Status::SUCCESS, None)
}
