//! The leaves of CPUID: those that the root VM gets, and those that it does not, with the reason.
//!
//! Sources as for the [features](super::features). A leaf that is in no list is hidden.

use super::features::{OWN, SEV, WRITES_MEMORY};

/// The basic leaves that are passed on, but for the words with [features](super::features::WORDS). Leaf 7 among them has the sub-leaves 0, 1 and 2 alone.
pub const BASIC: &[(u32, &str)] = &[
    (0, "vendor"),
    (1, "signature and features"),
    (2, "caches and TLBs"),
    (3, "serial number"),
    (4, "caches"),
    (5, "MONITOR"),
    (6, "power management"),
    (7, "features"),
    (9, "direct cache access"),
    (0xA, "performance monitor"),
    (0xB, "topology"),
    (0xD, "XSAVE"),
    (0xF, "RDT-M"),
    (0x10, "RDT-A"),
    (0x12, "SGX"),
    (0x15, "TSC"),
    (0x16, "frequencies"),
    (0x17, "SoC vendor"),
    (0x18, "TLBs"),
    (0x19, "Key Locker"),
    (0x1A, "hybrid processors"),
    (0x1B, "PCONFIG"),
    (0x1D, "AMX tiles"),
    (0x1E, "AMX multiplication"),
    (0x1F, "topology"),
    (0x20, "HRESET"),
    (0x24, "AVX10"),
    (0x27, "asymmetric RDT-M"),
    (0x28, "asymmetric RDT-A"),
];

/// The extended leaves of the same kind.
pub const EXTENDED: &[(u32, &str)] = &[
    (0x8000_0000, "vendor"),
    (0x8000_0001, "features"),
    (0x8000_0002, "name"),
    (0x8000_0003, "name"),
    (0x8000_0004, "name"),
    (0x8000_0005, "first-level caches and TLBs"),
    (0x8000_0006, "second-level caches and TLBs"),
    (0x8000_0007, "power management and machine checks"),
    (0x8000_0008, "address sizes and features"),
    (0x8000_0019, "TLBs for pages of 1 GiB"),
    (0x8000_001A, "speed of instructions"),
    (0x8000_001D, "caches"),
    (0x8000_001E, "topology"),
    (0x8000_001F, "encrypted memory"),
    (0x8000_0020, "quality of service"),
    (0x8000_0021, "features"),
    (0x8000_0022, "performance monitor"),
    (0x8000_0023, "keys of encrypted memory"),
    (0x8000_0026, "topology"),
    (0x8000_0027, "kinds of processors"),
];

/// Leaves that are hidden as a whole, and why: for whoever wonders whether they were looked at.
pub const HIDDEN_LEAVES: &[(u32, &str)] = &[
    (8, "no manual says what it tells"),
    (0xC, "no manual says what it tells"),
    (0x14, WRITES_MEMORY),
    (0x1C, "last-branch records: of the kernel's branches"),
    (0x23, "it tells of the newer PEBS"),
    (0x8000_000A, OWN),
    (0x8000_001B, "IBS samples the kernel"),
    (0x8000_001C, WRITES_MEMORY),
    (0x8000_0025, SEV),
];
