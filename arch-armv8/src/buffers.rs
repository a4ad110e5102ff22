//! The buffers into which the processor itself writes profiles and traces: at addresses that EL1 chose, by the translation that is
//! in force when the write is made, which may be after the instruction that it is about.
//!
//! So what a VM has brought about is in memory before EL2 changes the translation, and another VM runs with both switched off.

use core::arch::asm;

use crate::features::Features;
use crate::sysreg::{read_system, write_system};

/// PMBLIMITR_EL1.E and TRBLIMITR_EL1.E.
const ENABLED: u64 = 1;

/// Waits until what was recorded so far is written. For EL2, where nothing is recorded, with the VM's translation in force.
#[inline]
pub(crate) fn drain(features: &Features) {
    if features.records {
        drain_both(features);
    }
}

#[cold]
fn drain_both(features: &Features) {
    if features.profiling && read_system!("S3_0_C9_C10_0") & ENABLED != 0 {
        // SAFETY: barriers: PSB CSYNC.
        unsafe { asm!("hint #17", "dsb nsh", options(nostack, preserves_flags)) };
    }
    if features.trace_buffer && read_system!("S3_0_C9_C11_0") & ENABLED != 0 {
        // SAFETY: barriers: TSB CSYNC, twice, since one may be lost (Neoverse N2, erratum 2067961).
        unsafe { asm!("hint #18", "hint #18", "dsb nsh", options(nostack, preserves_flags)) };
    }
}

/// Switches both off, and the records of branches: what they are set to has been saved.
pub(crate) fn stop(features: &Features) {
    let shared = features.shared_regime;
    // SAFETY: registers of EL1's, each there by its ID field; the names with Op1 5 are EL1's in the EL2&0 regime.
    unsafe {
        if features.profiling {
            if shared {
                write_system!("S3_5_C9_C9_0", 0u64)
            } else {
                write_system!("S3_0_C9_C9_0", 0u64)
            }
            write_system!("S3_0_C9_C10_0", 0u64);
        }
        if features.trace_buffer {
            if shared {
                write_system!("S3_5_C1_C2_1", 0u64)
            } else {
                write_system!("S3_0_C1_C2_1", 0u64)
            }
            write_system!("S3_0_C9_C11_0", 0u64);
        }
        if features.present.has(crate::id::register_table::Id::Branches) {
            if shared { write_system!("S2_5_C9_C0_0", 0u64) } else { write_system!("S2_1_C9_C0_0", 0u64) }
        }
        asm!("isb", options(nostack, preserves_flags));
    }
}

/// Has EL1's registers lead to no tables any more (TCR_EL1.EPD0 and EPD1), before another VS's stage 2 comes in: some processors
/// begin translations of EL1's by speculation, and would keep what the one VS's tables say with the other one's tag (Cortex-A57
/// and A72, erratum 1319367; A55 1530923; A76 1165522). What the next VS has there is loaded afterwards.
pub(crate) fn stop_walks(shared: bool) {
    const NO_WALKS: u64 = 1 << 7 | 1 << 23;
    // SAFETY: EL1's registers, which have been saved; EL1 does not run before they are loaded.
    unsafe {
        if shared {
            write_system!("S3_5_C2_C0_2", NO_WALKS)
        } else {
            write_system!("tcr_el1", NO_WALKS)
        }
        asm!("isb", options(nostack, preserves_flags));
    }
}
