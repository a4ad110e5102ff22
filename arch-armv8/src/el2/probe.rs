//! Whether a processor can run Plinth, and what was met on any of them.

use core::sync::atomic::{AtomicBool, Ordering};

use aarch64_cpu::registers::{CurrentEL, Readable};
use plinth_launch::{LaunchError, LaunchStatus};
// BOUND: the boot processor makes it, before another one looks; `get` does not wait.
use spin::Once;

use crate::el2::id_registers;
use crate::features::Features;
use crate::id::facts::{MMFR0, PFR0};
use crate::paging::formats::USER_BITS;

static FEATURES: Once<Features> = Once::new();

impl Features {
    /// The boot CPU's features.
    pub(crate) fn current() -> Self {
        *FEATURES.wait()
    }

    /// Makes these the features that [`Self::current`] returns. The boot CPU calls it, before any other CPU launches.
    pub(crate) fn make_current(self) -> Self {
        *FEATURES.call_once(|| self)
    }
}

/// Whether a processor was met on which EL0 is AArch64 alone (ID_AA64PFR0_EL1.EL0): not all of a machine's need be alike.
static LACKS_AARCH32: AtomicBool = AtomicBool::new(false);

/// Takes note of the processor that runs this.
pub(crate) fn note_execution_states() {
    if id_registers::facts().field(PFR0, 0) != 2 {
        LACKS_AARCH32.store(true, Ordering::Relaxed);
    }
}

/// Whether EL0 may be AArch32 on every processor that has come under Plinth.
pub(crate) fn every_processor_has_aarch32() -> bool {
    !LACKS_AARCH32.load(Ordering::Relaxed)
}

/// Looks whether this processor can be launched.
pub(crate) fn probe(choice: Option<bool>) -> Result<Features, LaunchStatus> {
    let level = CurrentEL.read(CurrentEL::EL);
    if level != 2 {
        return Err(LaunchStatus::failed(LaunchError::WrongExceptionLevel, level));
    }
    let facts = id_registers::facts();
    let features = Features::of(&facts, choice);
    let granule = facts.field(MMFR0, 28) != 0xF;
    if !granule || features.physical_bits() < USER_BITS {
        return Err(LaunchStatus::failed(
            LaunchError::MissingFeature,
            facts.ids[MMFR0.index()] & 0xFFFF_FFFF,
        ));
    }
    Ok(features)
}
