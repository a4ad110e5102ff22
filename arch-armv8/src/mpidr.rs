//! The identity of the CPU that the caller runs on, from MPIDR_EL1. A leaf: it imports nothing of the hardware.

use aarch64_cpu::registers::{MPIDR_EL1, Readable};

use crate::psci::power_state::{AFFINITY, hardware_id};

/// This CPU's affinity.
pub(crate) fn own_affinity() -> u64 {
    MPIDR_EL1.get() & AFFINITY
}

/// This CPU's hardware id.
pub fn own_hardware_id() -> u32 {
    hardware_id(own_affinity())
}
