//! What the kernel images of all architectures share: how the log begins.

#![no_std]

mod log_copy;

use plinth_kernel::logger::{Connections, Console, LOGGER, Logger, Mirror, Origin};
use plinth_launch::LaunchInfo;

use log_copy::LogCopy;

/// The log's copy in the OS's memory.
static COPY: LogCopy = LogCopy::new();

/// Starts the kernel's log as the launch asks for: to `console`, if there is one, and to the OS's memory, if `info` names some.
/// `origin` says who writes.
///
/// # Safety
/// The memory that `info` names for the log is the OS's to lose, and identity mapped for writing as long as the kernel logs.
pub unsafe fn start_log(
    info: &LaunchInfo,
    console: Option<&'static dyn Console>,
    origin: &'static dyn Origin,
) {
    let place = Logger::copy_place(info);
    if let Some(place) = place {
        // SAFETY: it is page-aligned and as large as the copy; the rest is the caller's promise.
        unsafe { COPY.set_place(place) };
    }
    let mirror = place.map(|_| &COPY as &dyn Mirror);
    LOGGER.begin(info, Connections { console, origin: Some(origin), mirror });
}
