//! MSRs that the processors of both vendors have (Intel SDM vol. 4, table 2-2; AMD APM vol. 2, appendix A).

use plinth_hal::Opening::{Closed, Intrinsic, Open};

use super::{MsrRange, Read, Write, filtered, native};

const fn mtrr(first: u32, last: u32, name: &'static str) -> MsrRange {
    MsrRange {
        root_write: Write::MemoryType,
        ..native(first, last, name, "the hypervisor's memory keeps its type, or becomes write-back")
    }
}

const fn processor(register: u32, name: &'static str, reason: &'static str) -> MsrRange {
    filtered(register, Read::Native, Write::Processor, name, reason)
}

/// Components of XSAVES that hold registers which are not there: processor trace and last-branch records. XRSTORS would
/// write those registers past any map (Intel SDM vol. 1, 13.5.6).
pub const HIDDEN_XSS: u64 = 1 << 8 | 1 << 15;

const IN_THE_VS: &str = "the VMCB or the VMCS holds it: each VS has its own";
const MOVES: &str = "moves when another VS runs: each VS has its own";
const COUNTERS: &str = "counts for the whole processor, and writes no memory";

/// MSRs that both vendors' processors have, in order.
pub const SHARED: &[MsrRange] = &[
    native(0x0, 0x1, "P5_MC_ADDR, P5_MC_TYPE", "log of machine checks; the address is only a record"),
    native(0x10, 0x10, "TSC", "guests have RDTSC; a write changes the machine's time")
        .opened(Open, Intrinsic)
        .readable(),
    native(0x17, 0x17, "PLATFORM_ID", "read-only"),
    processor(0x1B, "APIC_BASE", "the APIC's page must not move: the kernel watches it"),
    native(0x3B, 0x3B, "TSC_ADJUST", "a write changes the time of the machine").opened(Intrinsic, Intrinsic),
    native(0x48, 0x48, "SPEC_CTRL", "speculation of the whole processor").opened(Intrinsic, Intrinsic),
    native(0x49, 0x49, "PRED_CMD", "a barrier: it only makes slower").opened(Open, Open),
    native(
        0x8B,
        0x8B,
        "BIOS_SIGN_ID, PATCH_LEVEL",
        "the microcode's revision; software clears it before it asks CPUID",
    ),
    native(0xE7, 0xE8, "MPERF, APERF", "counters of the clock").opened(Intrinsic, Closed),
    native(0xFE, 0xFE, "MTRRCAP", "read-only").opened(Open, Closed).readable(),
    native(0x10A, 0x10A, "ARCH_CAPABILITIES", "read-only").opened(Open, Closed),
    native(0x10B, 0x10B, "FLUSH_CMD", "flushes the first level's cache: it only makes slower")
        .opened(Open, Open),
    native(0x174, 0x176, "SYSENTER_CS, ESP, EIP", IN_THE_VS).opened(Open, Open),
    native(0x179, 0x17B, "MCG_CAP, MCG_STATUS, MCG_CTL", "machine checks are the root VM's"),
    native(0x1DB, 0x1DE, "LASTBRANCH and LASTINT FROM and TO", "records of branches")
        .opened(Intrinsic, Closed),
    mtrr(0x200, 0x21F, "MTRR_PHYSBASE and PHYSMASK 0 to 15"),
    mtrr(0x250, 0x250, "MTRR_FIX64K"),
    mtrr(0x258, 0x259, "MTRR_FIX16K"),
    mtrr(0x268, 0x26F, "MTRR_FIX4K"),
    native(0x277, 0x277, "PAT", IN_THE_VS).opened(Open, Open).readable(),
    mtrr(0x2FF, 0x2FF, "MTRR_DEF_TYPE").readable(),
    native(
        0x400,
        0x47F,
        "MCi_CTL, STATUS, ADDR, MISC",
        "log of machine checks; the address is only a record",
    ),
    native(0x6A0, 0x6A0, "U_CET", "SSP is one for all VSs").opened(Intrinsic, Intrinsic),
    native(0x6A2, 0x6A2, "S_CET", "SSP is one for all VSs").opened(Intrinsic, Intrinsic),
    native(
        0x6A4,
        0x6A8,
        "PL0_SSP to PL3_SSP, INTERRUPT_SSP_TABLE",
        "linear addresses, used with CR4.CET alone, which is \
        clear in the kernel",
    )
    .opened(Intrinsic, Intrinsic),
    native(0x6E0, 0x6E0, "TSC_DEADLINE", "the timer is the root VM's"),
    native(0x800, 0x82F, "x2APIC, up to the command register", "the local APIC is the root VM's"),
    processor(0x830, "x2APIC ICR", "starts and stops processors"),
    native(0x831, 0x834, "x2APIC, local vectors", "the local APIC is the root VM's"),
    processor(0x835, "x2APIC LVT LINT0", "says whether the old controller's interrupts come to the kernel"),
    native(0x836, 0x8FF, "x2APIC, the rest", "the local APIC is the root VM's"),
    native(0xC81, 0xC83, "L3 and L2 QOS_CFG", "cache allocation: it only makes slower"),
    native(
        0xC8D,
        0xD8F,
        "QM_EVTSEL, QM_CTR, PQR_ASSOC, cache and bandwidth masks",
        "cache allocation: it only makes slower",
    ),
    MsrRange {
        root_write: Write::Filtered { may_change: !HIDDEN_XSS },
        ..native(
            0xDA0,
            0xDA0,
            "XSS",
            "XRSTORS would write the registers of processor trace and of last-branch records",
        )
        .opened(Open, Closed)
    },
    native(0xC000_0100, 0xC000_0102, "FS_BASE, GS_BASE, KERNEL_GS_BASE", IN_THE_VS).opened(Open, Open),
    native(0xC000_0103, 0xC000_0103, "TSC_AUX", MOVES).opened(Open, Open),
];

/// For the vendors' lines.
pub const fn counters(first: u32, last: u32, name: &'static str) -> MsrRange {
    native(first, last, name, COUNTERS).opened(Intrinsic, Intrinsic)
}

/// For the vendors' lines: an MSR that [`crate::extended_state`] moves.
pub const fn moves(first: u32, last: u32, name: &'static str) -> MsrRange {
    native(first, last, name, MOVES).opened(Open, Open)
}

/// For the vendors' lines: an MSR that the control structure holds.
pub const fn in_the_vs(first: u32, last: u32, name: &'static str) -> MsrRange {
    native(first, last, name, IN_THE_VS).opened(Open, Open)
}
