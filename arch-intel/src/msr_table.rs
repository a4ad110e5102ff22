//! Intel's MSRs (Intel SDM vol. 4), and the few of VIA's and Zhaoxin's that OSes write.

use plinth_arch_x86::msr_table::{
    HIDDEN_XSS, MsrRange, MsrTable, Read, SHARED, Write, absent, counters, filtered, fixed, in_the_vs, moves,
    native,
};
use plinth_hal::Opening::{Intrinsic, Open};

/// All MSRs of an Intel processor.
pub(crate) const TABLE: MsrTable = MsrTable { vendor: INTEL, shared: SHARED };

/// IA32_FEATURE_CONTROL: locked.
const FEATURES_LOCKED: u64 = 1 << 0;
/// IA32_FEATURE_CONTROL: VMX allowed in SMX and outside.
const FEATURES_VMX: u64 = 1 << 1 | 1 << 2;
/// MSR_PLATFORM_INFO: there is CPUID faulting.
const CPUID_FAULTING: u64 = 1 << 31;
/// IA32_CORE_CAPABILITIES: there is MSR_INTEGRITY_CAPS, with the tests of a core in the field.
const INTEGRITY: u64 = 1 << 2;
/// IA32_MISC_ENABLE: no BTS, no PEBS.
const NO_DEBUG_STORE: u64 = 1 << 11 | 1 << 12;
/// IA32_MISC_ENABLE: no NX.
const NO_EXECUTE_DISABLE: u64 = 1 << 34;
/// IA32_PERF_CAPABILITIES: PEBS traps, its registers, format, baseline, output to processor trace, timing.
const PEBS: u64 = 1 << 6 | 1 << 7 | 0xF << 8 | 1 << 14 | 1 << 16 | 1 << 17;

const NO_VMX: &str = "belongs to VMX, which the root VM does not have";
const TRACES: &str = "the processor writes its trace to physical addresses that no nested table checks";
const DEBUG_STORE: &str =
    "the processor writes records at a linear address of whatever tables are loaded, the kernel's too";
const BRANCHES: &str = "a VM exit leaves the record on: it would show the kernel's branches";
const FEEDBACK: &str = "the processor writes its table to a physical address that no nested table checks";
const FIRMWARE: &str = "the firmware's, and locked by it";
const IN_FIELD_SCAN: &str = "the processor reads the test's image at an address";
const POWER: &str = "clocks and power are the OS's";
const CHECKS: &str = "machine checks are the root VM's";
const UNCORE: &str = "counts for many cores, and writes no memory";
const OS: &str = "a switch of the OS's that changes nothing about memory";

const INTEL: &[MsrRange] = &[
    native(0x2A, 0x2C, "EBL_CR_POWERON, EBC_FREQUENCY_ID", POWER),
    native(0x33, 0x33, "MEMORY_CTRL", "split locks raise #AC; the kernel has none"),
    native(0x34, 0x34, "SMI_COUNT", "read-only"),
    filtered(
        0x3A,
        Read::Filtered { clear: FEATURES_VMX, set: FEATURES_LOCKED },
        Write::Absent,
        "FEATURE_CONTROL",
        "VMX is off and locked, as firmware can have it; all else is the machine's",
    ),
    native(0x40, 0x47, "LASTBRANCH FROM", "DEBUGCTL is clear after a VM exit"),
    native(0x4E, 0x4F, "PPIN_CTL, PPIN", "the processor's serial number"),
    native(0x60, 0x67, "LASTBRANCH TO", "DEBUGCTL is clear after a VM exit"),
    filtered(
        0x79,
        Read::Native,
        Write::Ignored,
        "BIOS_UPDT_TRIG",
        "microcode must not be loaded in VMX non-root operation: it is the firmware's, or loaded before the launch",
    ),
    native(0x8C, 0x8F, "SGXLEPUBKEYHASH", "enclaves are the OS's"),
    fixed(0x9B, 0x9B, "SMM_MONITOR_CTL", "an address of the firmware's"),
    fixed(0x9E, 0x9E, "SMBASE", "the processor saves its state there; the firmware's"),
    native(0xBC, 0xBD, "MISC_PACKAGE_CTLS, XAPIC_DISABLE_STATUS", OS),
    counters(0xC1, 0xC8, "PMC0 to PMC7"),
    native(0xCD, 0xCD, "FSB_FREQ", "read-only"),
    filtered(
        0xCE,
        Read::Filtered { clear: CPUID_FAULTING, set: 0 },
        Write::Filtered { may_change: 0 },
        "PLATFORM_INFO",
        "shows no CPUID faulting, which would take CPUID from the extension",
    ),
    filtered(
        0xCF,
        Read::Filtered { clear: INTEGRITY, set: 0 },
        Write::Absent,
        "CORE_CAPABILITIES",
        "shows no tests of a core, which read memory at an address",
    ),
    native(0xE1, 0xE1, "UMWAIT_CONTROL", OS),
    native(0xE2, 0xE5, "PKG_CST_CONFIG_CONTROL, PMG_IO_CAPTURE_BASE", POWER),
    native(0x10F, 0x10F, "TSX_FORCE_ABORT", OS),
    native(0x119, 0x119, "BBL_CR_CTL", "the second level's cache on old processors"),
    native(0x11E, 0x11E, "BBL_CR_CTL3", "the second level's cache on old processors"),
    native(0x122, 0x123, "TSX_CTRL, MCU_OPT_CTRL", OS),
    native(0x13C, 0x13C, "FEATURE_CONFIG", "locks AES instructions"),
    absent(
        0x140,
        0x140,
        "MISC_FEATURES_ENABLES",
        "CPUID faulting would take CPUID from the extension, in ring 3",
    ),
    filtered(
        0x150,
        Read::Native,
        Write::Absent,
        "OC_MAILBOX",
        "a wrong voltage makes the processor compute wrong, in the kernel too",
    ),
    native(0x17F, 0x17F, "ERROR_CONTROL", CHECKS),
    native(0x180, 0x185, "MCG_RAX to MCG_RDI", CHECKS),
    counters(0x186, 0x18D, "PERFEVTSEL0 to 7"),
    native(0x198, 0x19D, "PERF_STATUS, PERF_CTL, thermal", POWER),
    filtered(
        0x1A0,
        Read::Filtered { clear: 0, set: NO_DEBUG_STORE },
        Write::Filtered { may_change: !(NO_EXECUTE_DISABLE | NO_DEBUG_STORE) },
        "MISC_ENABLE",
        "without NX the kernel's own tables have reserved bits",
    ),
    native(0x1A1, 0x1A4, "temperature target, prefetchers", POWER),
    native(0x1A6, 0x1A7, "OFFCORE_RSP", "selects what counters count"),
    native(0x1AA, 0x1B2, "MISC_PWR_MGMT, turbo, ENERGY_PERF_BIAS, package thermal", POWER),
    moves(0x1C4, 0x1C5, "XFD, XFD_ERR"),
    native(0x1C8, 0x1C9, "LBR_SELECT, LBR_TOS", "DEBUGCTL is clear after a VM exit"),
    native(0x1CC, 0x1D4, "FRED", "linear addresses, used with CR4.FRED alone, which is clear in the kernel"),
    native(0x1D9, 0x1D9, "DEBUGCTL", "the VMCS holds it; a VM exit clears it").opened(Intrinsic, Intrinsic),
    fixed(0x1F2, 0x1F3, "SMRR_PHYSBASE and PHYSMASK", FIRMWARE),
    fixed(0x1F4, 0x1F7, "PRMRR and EMXRR", FIRMWARE),
    native(0x1FC, 0x1FC, "POWER_CTL", POWER),
    native(0x280, 0x29F, "MCi_CTL2", CHECKS),
    fixed(0x2A0, 0x2A7, "PRMRR_BASE", FIRMWARE),
    absent(0x2B8, 0x2C7, "in-field scan: images and activation", IN_FIELD_SCAN),
    filtered(0x2D9, Read::Filtered { clear: !0, set: 0 }, Write::Absent, "INTEGRITY_CAPS", IN_FIELD_SCAN),
    fixed(0x2F4, 0x2F5, "UNCORE_PRMRR", FIRMWARE),
    native(0x300, 0x301, "SGXOWNEREPOCH", "enclaves are the OS's"),
    counters(0x309, 0x318, "FIXED_CTR"),
    counters(0x329, 0x329, "PERF_METRICS"),
    filtered(
        0x345,
        Read::Filtered { clear: PEBS, set: 0 },
        Write::Absent,
        "PERF_CAPABILITIES",
        "shows no PEBS",
    ),
    counters(0x38D, 0x392, "FIXED_CTR_CTRL, PERF_GLOBAL_STATUS, CTRL, OVF_CTRL, INUSE"),
    native(0x394, 0x397, "uncore fixed counter", UNCORE),
    native(0x3B0, 0x3C9, "uncore counters", UNCORE),
    absent(
        0x3F1,
        0x3F7,
        "PEBS_ENABLE, PEBS_DATA_CFG, PEBS_BASE, PEBS_INDEX, PEBS_LD_LAT, PEBS_FRONTEND",
        DEBUG_STORE,
    ),
    native(0x3F8, 0x3FF, "residency in C-states", "read-only counters"),
    absent(0x480, 0x49F, "the capabilities of VMX", NO_VMX),
    counters(0x4C1, 0x4C8, "A_PMC0 to A_PMC7"),
    native(0x4D0, 0x4D0, "MCG_EXT_CTL", CHECKS),
    absent(0x4F0, 0x4F0, "SAF_CTRL", IN_FIELD_SCAN),
    absent(0x560, 0x561, "RTIT_OUTPUT_BASE, RTIT_OUTPUT_MASK_PTRS", TRACES),
    absent(0x570, 0x572, "RTIT_CTL, RTIT_STATUS, RTIT_CR3_MATCH", TRACES),
    absent(0x580, 0x587, "RTIT_ADDR", TRACES),
    absent(0x600, 0x600, "DS_AREA", DEBUG_STORE),
    native(0x601, 0x66F, "RAPL, C-state latencies and residency, TDP", POWER),
    native(0x680, 0x69F, "LASTBRANCH FROM, PERF_LIMIT_REASONS", "DEBUGCTL is clear after a VM exit"),
    native(0x6B0, 0x6B1, "GFX and RING_PERF_LIMIT_REASONS", POWER),
    native(0x6C0, 0x6DF, "LASTBRANCH TO", "DEBUGCTL is clear after a VM exit"),
    moves(0x6E1, 0x6E1, "PKRS"),
    native(0x700, 0x76F, "uncore counters", UNCORE),
    native(0x770, 0x777, "HWP", POWER),
    fixed(
        0x982,
        0x984,
        "TME_ACTIVATE, TME_EXCLUDE_MASK and BASE",
        "which memory is encrypted, and how keys lie in addresses",
    ),
    native(
        0x985,
        0x98A,
        "user interrupts",
        "linear addresses of the guest's tables; interrupts by the local APIC",
    ),
    fixed(0xC80, 0xC80, "DEBUG_INTERFACE", "opens the processor to a debugger; locked by the firmware"),
    moves(0xD90, 0xD90, "BNDCFGS"),
    native(0xD91, 0xD92, "COPY of key locker's key", "keys are the OS's"),
    native(0xD93, 0xD93, "PASID", "names an address space of the OS's to devices"),
    native(0xDB0, 0xDB2, "HDC", POWER),
    native(0xDC0, 0xDDF, "LBR_INFO", "DEBUGCTL is clear after a VM exit"),
    native(0xE00, 0xFFF, "uncore counters of servers", UNCORE),
    native(0x1107, 0x1107, "FCR of VIA's", OS),
    native(0x110A, 0x110B, "LONGHAUL and RNG of VIA's", OS),
    native(0x1147, 0x1147, "BCR2 of VIA's", POWER),
    absent(0x1200, 0x121F, "LBR_x_INFO", BRANCHES),
    fixed(0x1400, 0x1401, "SEAMRR_PHYS_BASE and MASK", FIRMWARE),
    absent(0x14CE, 0x14CF, "LBR_CTL, LBR_DEPTH", BRANCHES),
    absent(0x1500, 0x151F, "LBR_x_FROM_IP", BRANCHES),
    absent(0x1600, 0x161F, "LBR_x_TO_IP", BRANCHES),
    absent(0x17D0, 0x17D4, "HW_FEEDBACK_PTR, CONFIG, CHAR, THREAD_CONFIG", FEEDBACK),
    native(0x17DA, 0x17DA, "HRESET_ENABLE", "forgets predictions: it only makes slower"),
    in_the_vs(0xC000_0080, 0xC000_0080, "EFER"),
    MsrRange {
        root_write: Write::Saved,
        ..native(
            0xC000_0081,
            0xC000_0084,
            "STAR, LSTAR, CSTAR, SFMASK",
            "the kernel knows them without reading them at each turn",
        )
    }
    .opened(Open, Open),
];

/// What may be on at the launch though the root VM does not find it: MSRs and the bits that are cleared. Processor trace, PEBS,
/// last-branch records, hardware feedback, CPUID faulting.
pub(crate) const QUIET: [(u32, u64); 7] =
    [(0x570, 1), (0x3F1, !0), (0x14CE, 1), (0x17D1, 0b11), (0x17D4, 1), (0x140, 1), (0xDA0, HIDDEN_XSS)];

#[cfg(test)]
mod tests {
    use plinth_arch_x86::extended_state;
    use plinth_arch_x86::msr_table::{assert_is_closed, assert_keeps, assert_serves};

    use super::*;

    /// The MSRs of Intel's processors that hold an address at which the processor accesses memory by itself, or that redirect
    /// accesses (Intel SDM vol. 4; vol. 3, the chapters about debug store, processor trace, HFI, SMM, MTRRs, microcode).
    const DANGEROUS: &[(u32, u32, &str)] = &[
        (0x1B, 0x1B, "APIC_BASE moves a page of devices over memory"),
        (0x3A, 0x3A, "FEATURE_CONTROL"),
        (0x79, 0x79, "BIOS_UPDT_TRIG reads microcode at an address"),
        (0x9B, 0x9B, "SMM_MONITOR_CTL holds MSEG's base"),
        (0x9E, 0x9E, "SMBASE"),
        (0x1F2, 0x1F3, "SMRR"),
        (0x1F4, 0x1F5, "PRMRR"),
        (0x140, 0x140, "CPUID faulting"),
        (0x1A0, 0x1A0, "MISC_ENABLE"),
        (0x200, 0x21F, "variable MTRRs"),
        (0x250, 0x250, "fixed MTRRs"),
        (0x258, 0x259, "fixed MTRRs"),
        (0x268, 0x26F, "fixed MTRRs"),
        (0x2A0, 0x2A7, "PRMRR_BASE"),
        (0x2C2, 0x2C2, "COPY_SCAN_HASHES takes an address"),
        (0x2C4, 0x2C4, "AUTHENTICATE_AND_COPY_CHUNK takes an address"),
        (0x2F4, 0x2F5, "UNCORE_PRMRR"),
        (0x2FF, 0x2FF, "MTRR_DEF_TYPE"),
        (0x3F1, 0x3F1, "PEBS_ENABLE"),
        (0x3F4, 0x3F5, "PEBS_BASE, PEBS_INDEX"),
        (0x480, 0x493, "VMX"),
        (0x560, 0x561, "RTIT_OUTPUT_BASE"),
        (0x570, 0x572, "RTIT_CTL"),
        (0x580, 0x587, "RTIT_ADDR"),
        (0x600, 0x600, "DS_AREA"),
        (0x982, 0x984, "TME"),
        (0xC80, 0xC80, "DEBUG_INTERFACE"),
        (0xDA0, 0xDA0, "XSS lets XRSTORS write the registers of processor trace"),
        (0x1400, 0x1401, "SEAMRR"),
        (0x14CE, 0x14CE, "LBR_CTL"),
        (0x17D0, 0x17D1, "HW_FEEDBACK_PTR, HW_FEEDBACK_CONFIG"),
    ];

    #[test]
    fn the_table_keeps_the_rules() {
        assert_is_closed(&TABLE);
    }

    #[test]
    fn what_holds_an_address_or_redirects_is_not_the_root_vms() {
        assert_keeps(&TABLE, DANGEROUS);
    }

    /// What Linux writes on Intel's processors (its `msr-index.h`), and EDK2.
    const WRITTEN: &[(u32, u32, &str)] = &[
        (0x10, 0x10, "TSC"),
        (0x1B, 0x1B, "APIC_BASE"),
        (0x33, 0x33, "split locks"),
        (0x3B, 0x3B, "TSC_ADJUST"),
        (0x48, 0x49, "SPEC_CTRL, PRED_CMD"),
        (0x79, 0x79, "microcode"),
        (0x8B, 0x8F, "BIOS_SIGN_ID, SGXLEPUBKEYHASH"),
        (0xC1, 0xC8, "counters"),
        (0xE1, 0xE2, "UMWAIT_CONTROL, C-states"),
        (0x10B, 0x10B, "FLUSH_CMD"),
        (0x10F, 0x10F, "TSX_FORCE_ABORT"),
        (0x122, 0x123, "TSX_CTRL, MCU_OPT_CTRL"),
        (0x13C, 0x13C, "FEATURE_CONFIG"),
        (0x174, 0x176, "SYSENTER"),
        (0x17A, 0x17B, "MCG_STATUS, MCG_CTL"),
        (0x17F, 0x17F, "ERROR_CONTROL"),
        (0x186, 0x18D, "counters"),
        (0x199, 0x19C, "P-states, thermal"),
        (0x1A0, 0x1A0, "MISC_ENABLE"),
        (0x1A4, 0x1A4, "prefetchers"),
        (0x1A6, 0x1A7, "OFFCORE_RSP"),
        (0x1AA, 0x1AD, "power, turbo"),
        (0x1B0, 0x1B2, "ENERGY_PERF_BIAS, thermal"),
        (0x1C4, 0x1C5, "XFD"),
        (0x1C8, 0x1C9, "last branches"),
        (0x1CC, 0x1D4, "FRED"),
        (0x1D9, 0x1D9, "DEBUGCTL"),
        (0x1FC, 0x1FC, "POWER_CTL"),
        (0x200, 0x21F, "MTRRs"),
        (0x268, 0x26F, "MTRRs"),
        (0x277, 0x277, "PAT"),
        (0x280, 0x29F, "MCi_CTL2"),
        (0x2FF, 0x2FF, "MTRRs"),
        (0x309, 0x310, "counters"),
        (0x329, 0x329, "PERF_METRICS"),
        (0x38D, 0x390, "counters"),
        (0x394, 0x395, "uncore"),
        (0x3B0, 0x3C7, "uncore"),
        (0x400, 0x47F, "MCi"),
        (0x4C1, 0x4C8, "counters"),
        (0x4D0, 0x4D0, "MCG_EXT_CTL"),
        (0x601, 0x601, "VR_CURRENT_CONFIG"),
        (0x610, 0x66D, "RAPL and others"),
        (0x680, 0x69F, "last branches"),
        (0x6A0, 0x6A0, "U_CET"),
        (0x6A2, 0x6A2, "S_CET"),
        (0x6A4, 0x6A8, "SSPs"),
        (0x6C0, 0x6DF, "last branches"),
        (0x6E0, 0x6E1, "TSC_DEADLINE, PKRS"),
        (0x770, 0x777, "HWP"),
        (0x800, 0x83F, "x2APIC"),
        (0x985, 0x98A, "user interrupts"),
        (0xC81, 0xC82, "cache allocation"),
        (0xC8D, 0xD8F, "cache allocation"),
        (0xD90, 0xD90, "BNDCFGS"),
        (0xD93, 0xD93, "PASID"),
        (0xDA0, 0xDA0, "XSS"),
        (0xDB0, 0xDB2, "HDC"),
        (0xDC0, 0xDDF, "last branches"),
        (0xE00, 0xE3F, "uncore of servers"),
        (0x17DA, 0x17DA, "HRESET_ENABLE"),
        (0xC000_0080, 0xC000_0084, "EFER, STAR"),
        (0xC000_0100, 0xC000_0103, "bases, TSC_AUX"),
    ];

    #[test]
    fn what_an_os_writes_is_not_refused() {
        assert_serves(&TABLE, WRITTEN);
    }

    #[test]
    fn what_moves_between_vss_is_there() {
        for register in extended_state::MSRS {
            assert!(
                TABLE.find(register).is_some_and(|range| range.root_write != Write::Absent),
                "{register:#x}"
            );
        }
    }

    #[test]
    fn feature_control_is_that_of_a_machine_whose_firmware_has_switched_vmx_off() {
        let Read::Filtered { clear, set } = TABLE.root_read(0x3A) else { unreachable!("it exits") };
        let (vmx, all_else) = (0b110, 1 << 17 | 1 << 18 | 1 << 20);
        assert_eq!((vmx | all_else) & !clear | set, all_else | 1);
        assert_eq!(TABLE.root_write(0x3A), Write::Absent);
    }
}
