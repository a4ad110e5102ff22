//! NAME: a virtual machine monitor of your own. The root VM runs as it did on the bare machine; say below what is to be
//! different.

#![no_std]
#![no_main]

use plinth_extension_api::{Exit, Extension, Failure, Plinth, Resume, extension, log, passthrough};

/// The monitor's state. All methods get it shared, and may run on several processors at once.
struct Monitor;

impl Extension for Monitor {
    /// Runs once, before anything is virtualized. An error ends the launch.
    fn start(&self, _plinth: Plinth) -> Result<(), Failure> {
        log::info!("hello from NAME");
        Ok(())
    }

    /// Runs at every exit that the kernel does not serve by itself. The answer says how the guest goes on.
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        passthrough::vmexit(exit)
    }
}

extension!(Monitor);
