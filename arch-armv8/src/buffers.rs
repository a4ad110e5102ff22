//! The profiling (SPE) and trace (TRBE) buffers, which the CPU itself writes: at virtual addresses that EL1 chose, by the
//! translation in force at the time of the write, which may be after the instruction that the record describes.
//!
//! So the kernel drains a VM's records to memory before it changes the translation, and both units are off while another VM
//! runs.

use core::arch::asm;

use crate::features::Features;
use crate::sysreg::{read_system, write_system};

/// PMBLIMITR_EL1.E and TRBLIMITR_EL1.E.
const ENABLED: u64 = 1;

/// Waits until all records are in memory. Called at EL2, where nothing is recorded, with the VM's translation still in
/// force.
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

/// Turns off both units and branch records. Their configuration has been saved.
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

/// Disables EL1's page walks (TCR_EL1.EPD0 and EPD1) before the stage 2 of another VS is loaded. Some CPUs walk EL1's tables
/// speculatively, and would cache the translations of one VS under the tag of another (Cortex-A57 and A72, erratum 1319367;
/// A55 1530923; A76 1165522). The next VS's own values are loaded afterwards.
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
