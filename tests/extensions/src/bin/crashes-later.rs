//! Passes everything through, but faults when Linux has been booting for a while, and has no fail callback.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use plinth_extension_api::{Exit, ExitClass, Extension, Resume, extension, passthrough};
use plinth_test_extensions::fault;

/// The CPUID exits and hypercalls that it serves: firmware and loader make a few dozen, a booting Linux some hundred.
const SERVED: u32 = 150;

static EXITS: AtomicU32 = AtomicU32::new(0);

struct CrashesLater;

impl Extension for CrashesLater {
    const HANDLES_FAILURE: bool = false;

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let is_counted = matches!(exit.class(), ExitClass::IdRead | ExitClass::Hypercall);
        if is_counted && EXITS.fetch_add(1, Ordering::Relaxed) >= SERVED {
            fault();
        }
        passthrough::vmexit(exit)
    }
}

extension!(CrashesLater);
