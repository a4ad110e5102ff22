//! The firmware's own timer.

use core::time::Duration;

use uefi::boot::{self, EventType, TimerTrigger, Tpl};

/// How often the event is to come, every tenth of a second, and how long that may take.
pub const EVENTS: u32 = 5;
const PERIOD: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);
/// How long each look at the counter takes.
const STEP: Duration = Duration::from_millis(1);

/// Counts events. `None` where the firmware does not make one.
pub fn events() -> Option<u32> {
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
