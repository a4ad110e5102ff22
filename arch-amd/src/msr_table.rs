//! AMD's MSRs (AMD APM vol. 2, appendix A; the PPRs of families 17h to 1Ah; the BKDGs of older ones).

use plinth_arch_x86::msr_table::{
    HIDDEN_XSS, MsrRange, MsrTable, Read, SHARED, Write, absent, counters, filtered, fixed, in_the_vs, native,
};
use plinth_hal::Opening::{Closed, Intrinsic};

/// All MSRs of an AMD processor.
pub(crate) const TABLE: MsrTable = MsrTable { vendor: AMD, shared: SHARED };

/// VM_CR as firmware leaves it that has switched SVM off: SVMDIS and LOCK (AMD APM vol. 2, 15.30.1).
const SVM_OFF: u64 = 1 << 4 | 1 << 3;

/// The bits of HWCR that the root VM may change: McStatusWrEn, CpbDis, EffFreqCntMwait, IRPerfEn. Among the others are
/// CpuidFltEn, which would take CPUID from the extension, TlbCacheDis and Wrap32Dis, which change how memory is reached, and
/// MonMwaitUserEn, which would give the extension MWAIT.
const HWCR_MAY_CHANGE: u64 = 1 << 18 | 1 << 25 | 1 << 26 | 1 << 30;

/// DEBUGCTL.LBR: the record would show branches of the kernel, because #VMEXIT leaves it on.
const DEBUGCTL_LBR: u64 = 1 << 0;
/// NB_CFG.EnableCf8ExtCfg.
const CF8_EXTENDED: u64 = 1 << 46;

const REDIRECTS: &str = "redirects physical memory, the hypervisor's too";
const SMM: &str = "system management mode is the firmware's";
const NO_SVM: &str = "belongs to SVM, which the root VM does not have";
const ENCRYPTION: &str = "belongs to SEV and SNP, which the root VM does not have";
const SAMPLES: &str = "samples show the kernel's branches and addresses";
const POWER: &str = "clocks and power are the OS's";
const CHICKEN: &str = "workarounds for errata: OSes set them";
const VOLTAGE: &str = "a wrong voltage makes the processor compute wrong, in the kernel too";

const fn saved(register: u32, name: &'static str, reason: &'static str) -> MsrRange {
    filtered(register, Read::Saved, Write::Saved, name, reason)
}

const AMD: &[MsrRange] = &[
    fixed(
        0x1A0,
        0x1A0,
        "MISC_ENABLE",
        "Intel's, which emulators have on AMD too: Linux writes it back when it wakes",
    ),
    MsrRange {
        root_write: Write::Filtered { may_change: !DEBUGCTL_LBR },
        ..native(0x1D9, 0x1D9, "DEBUGCTL", "a record of branches would show the kernel's")
    }
    .opened(Intrinsic, Closed),
    saved(0xC000_0080, "EFER", "SVME must stay set, and is not shown"),
    in_the_vs(0xC000_0081, 0xC000_0084, "STAR, LSTAR, CSTAR, SFMASK"),
    native(0xC000_00E7, 0xC000_00E9, "MPERF_RO, APERF_RO, IRPERF", "counters of the clock")
        .opened(Intrinsic, Closed),
    absent(0xC000_0104, 0xC000_0104, "TSC_RATIO", NO_SVM),
    absent(
        0xC000_0105,
        0xC000_0106,
        "LWP_CFG, LWP_CBADDR",
        "lightweight profiling writes memory at any privilege",
    ),
    native(0xC000_0108, 0xC000_0108, "PREFETCH_CONTROL", CHICKEN),
    absent(0xC000_010E, 0xC000_010F, "LBR_SELECT, DBG_EXTN_CFG", SAMPLES),
    native(0xC000_0200, 0xC000_02FF, "L3QOS_BW_CONTROL, SLOW_BW", "bandwidth: it only makes slower"),
    counters(0xC000_0300, 0xC000_0303, "PerfCntrGlobalStatus and Ctl"),
    native(0xC000_03FD, 0xC000_03FF, "QOS_EVT_CFG, ABMC", "counters of bandwidth"),
    native(0xC000_0400, 0xC000_0411, "QOS_EVT_CFG, MCA_INTR_CFG", "vectors of interrupts by the local APIC"),
    native(0xC000_0500, 0xC000_0503, "workload classification", "hints for the scheduler"),
    native(
        0xC000_2000,
        0xC000_2FFF,
        "SMCA banks",
        "machine checks are the root VM's; no map of the processor covers them",
    ),
    counters(0xC001_0000, 0xC001_0007, "PERF_CTL and PERF_CTR of family 0Fh"),
    fixed(
        0xC001_0010,
        0xC001_0010,
        "SYSCFG",
        "MtrrFixDramModEn, TOM2, SMEE and SNP change where memory accesses go",
    )
    .readable(),
    MsrRange {
        root_write: Write::Filtered { may_change: HWCR_MAY_CHANGE },
        ..native(0xC001_0015, 0xC001_0015, "HWCR", "some bits change how the kernel and the extension run")
    }
    .readable(),
    fixed(0xC001_0016, 0xC001_0019, "IORR_BASE and IORR_MASK", REDIRECTS),
    fixed(0xC001_001A, 0xC001_001A, "TOP_MEM", REDIRECTS).readable(),
    native(0xC001_001B, 0xC001_001B, "CLK_CTL", POWER),
    fixed(0xC001_001D, 0xC001_001D, "TOP_MEM2", REDIRECTS).readable(),
    MsrRange {
        root_write: Write::Filtered { may_change: CF8_EXTENDED },
        ..native(0xC001_001F, 0xC001_001F, "NB_CFG", "the north bridge routes memory")
    },
    filtered(
        0xC001_0020,
        Read::Native,
        Write::Ignored,
        "PATCH_LOADER",
        "microcode changes the processor under the kernel: it is the firmware's, or loaded before the launch",
    ),
    fixed(0xC001_0022, 0xC001_0022, "McExcepRedir", "would take machine checks from the kernel"),
    native(0xC001_0030, 0xC001_0035, "the processor's name", "what CPUID tells by 8000_0002h to 8000_0004h"),
    native(0xC001_0041, 0xC001_0042, "FIDVID_CTL and STATUS", POWER),
    native(0xC001_0044, 0xC001_004A, "MCi_CTL_MASK", "machine checks are the root VM's"),
    fixed(0xC001_0050, 0xC001_0056, "SMI traps on I/O, interrupt-pending message", SMM),
    fixed(
        0xC001_0058,
        0xC001_0058,
        "MMIO_CFG_BASE",
        "makes accesses to memory accesses to devices' configuration",
    ),
    native(0xC001_0061, 0xC001_0063, "P-state limit, control, status", POWER),
    fixed(0xC001_0064, 0xC001_006B, "P-state definitions", VOLTAGE),
    native(0xC001_0071, 0xC001_0071, "COFVID_STATUS", POWER),
    native(
        0xC001_0073,
        0xC001_0074,
        "C-state port, watchdog",
        "reads of the port halt the processor, as HLT does",
    ),
    native(0xC001_007A, 0xC001_007B, "CU_PWR_ACCUMULATOR", POWER),
    fixed(0xC001_0111, 0xC001_0113, "SMM_BASE, SMM_ADDR, SMM_MASK", SMM),
    filtered(
        0xC001_0114,
        Read::Filtered { clear: !0, set: SVM_OFF },
        Write::Ignored,
        "VM_CR",
        "SVM is off and locked, as firmware can have it; R_INIT must stay set",
    ),
    native(0xC001_0115, 0xC001_0115, "IGNNE", "reports of the FPU, as in the first PCs"),
    absent(0xC001_0116, 0xC001_0116, "SMM_CTL", SMM),
    filtered(
        0xC001_0117,
        Read::Filtered { clear: !0, set: 0 },
        Write::Filtered { may_change: 0 },
        "VM_HSAVE_PA",
        "reads as 0; a Linux that knew of SVM before it became the root VM writes 0 when it panics or goes down",
    ),
    absent(0xC001_0118, 0xC001_0119, "SVM_KEY, SMM_KEY", NO_SVM),
    fixed(0xC001_011A, 0xC001_011A, "local SMI status", SMM),
    absent(0xC001_011B, 0xC001_011B, "AVIC doorbell", NO_SVM),
    absent(0xC001_011E, 0xC001_011E, "VM_PAGE_FLUSH", ENCRYPTION),
    native(0xC001_011F, 0xC001_011F, "VIRT_SPEC_CTRL", "speculation of the whole processor")
        .opened(Intrinsic, Intrinsic),
    absent(0xC001_0130, 0xC001_0130, "SEV_ES_GHCB", ENCRYPTION),
    filtered(
        0xC001_0131,
        Read::Native,
        Write::Absent,
        "SEV_STATUS",
        "read-only: whether this machine is encrypted itself",
    ),
    fixed(0xC001_0132, 0xC001_0133, "RMP_BASE, RMP_END", "the processor checks and writes the table there"),
    fixed(0xC001_0136, 0xC001_0136, "RMP_CFG", "how the table of the last two lies in memory"),
    absent(0xC001_0137, 0xC001_0139, "SVSM, secure AVIC", ENCRYPTION),
    native(0xC001_0140, 0xC001_0141, "OSVW_ID_LENGTH, OSVW_STATUS", "which errata the OS works around"),
    counters(0xC001_0200, 0xC001_020B, "PERF_CTL and PERF_CTR"),
    native(0xC001_0230, 0xC001_023B, "L2 and L3 counters", "count for many cores, and write no memory"),
    native(0xC001_0240, 0xC001_0247, "north bridge's counters", "count for many cores, and write no memory"),
    native(0xC001_0280, 0xC001_0280, "PTSC", "a counter of time"),
    native(0xC001_0290, 0xC001_029B, "P-state status, RAPL", POWER),
    native(0xC001_02B0, 0xC001_02B4, "CPPC", POWER),
    native(0xC001_02F0, 0xC001_02F1, "PPIN_CTL, PPIN", "the processor's serial number"),
    absent(0xC001_0300, 0xC001_031F, "LBR stack", SAMPLES),
    native(0xC001_0400, 0xC001_047F, "MCA_CTL_MASK", "machine checks are the root VM's"),
    native(0xC001_0800, 0xC001_08FF, "UMC counters", "count for many cores, and write no memory"),
    native(
        0xC001_1000,
        0xC001_1018,
        "CPUID overrides, node id",
        "what CPUID shows to this processor's software",
    ),
    native(0xC001_1019, 0xC001_101B, "DR1 to DR3 address masks", "breakpoints are off in the kernel"),
    native(0xC001_101C, 0xC001_102F, "LS_CFG, IC_CFG, DC_CFG, TW_CFG, BU_CFG, DE_CFG and others", CHICKEN),
    absent(0xC001_1030, 0xC001_103D, "IBS", SAMPLES),
    native(0xC001_10A0, 0xC001_10A1, "L2 configuration", CHICKEN),
    native(0xC001_10DD, 0xC001_10E5, "further configuration of Zen's", CHICKEN),
];

/// What may be on at the launch though the root VM does not find it: MSRs and the bits that are cleared. LWP, LBRv2, IBS,
/// CPUID faulting.
pub(crate) const QUIET: [(u32, u64); 6] = [
    (0xC000_0105, !0),
    (0xC000_010F, 1 << 6),
    (0xC001_1030, 1 << 48),
    (0xC001_1033, 1 << 17),
    (0xC001_0015, 1 << 35),
    (0xDA0, HIDDEN_XSS),
];

#[cfg(test)]
mod tests {
    use plinth_arch_x86::msr_table::{assert_is_closed, assert_keeps, assert_serves};
    use plinth_hal::{Authority, Intercepts};

    use super::*;

    /// The MSRs of AMD's processors that hold an address at which the processor accesses memory by itself, or that redirect
    /// accesses (AMD APM vol. 2, appendix A; PPR of family 19h, "MSRs"; older families by their BKDGs).
    const DANGEROUS: &[(u32, u32, &str)] = &[
        (0x1B, 0x1B, "APIC_BASE moves a page of devices over memory"),
        (0x200, 0x21F, "variable MTRRs"),
        (0x250, 0x250, "fixed MTRRs: with RdMem and WrMem they redirect the first MiB"),
        (0x258, 0x259, "fixed MTRRs"),
        (0x268, 0x26F, "fixed MTRRs"),
        (0x2FF, 0x2FF, "MTRR_DEF_TYPE"),
        (0xC000_0080, 0xC000_0080, "EFER"),
        (0xC000_0105, 0xC000_0106, "LWP writes its ring buffer"),
        (0xC001_0010, 0xC001_0010, "SYSCFG"),
        (0xC001_0015, 0xC001_0015, "HWCR"),
        (0xC001_0016, 0xC001_0019, "IORR"),
        (0xC001_001A, 0xC001_001A, "TOP_MEM"),
        (0xC001_001D, 0xC001_001D, "TOP_MEM2"),
        (0xC001_001F, 0xC001_001F, "NB_CFG"),
        (0xC001_0020, 0xC001_0020, "PATCH_LOADER reads microcode at an address"),
        (0xC001_0022, 0xC001_0022, "redirection of machine checks"),
        (0xC001_0050, 0xC001_0056, "SMI traps and messages: I/O by the processor"),
        (0xC001_0058, 0xC001_0058, "MMIO_CFG_BASE"),
        (0xC001_0111, 0xC001_0111, "SMM_BASE: the processor saves its state there"),
        (0xC001_0112, 0xC001_0113, "SMM_ADDR, SMM_MASK"),
        (0xC001_0114, 0xC001_0114, "VM_CR"),
        (0xC001_0116, 0xC001_0116, "SMM_CTL"),
        (0xC001_0117, 0xC001_0117, "VM_HSAVE_PA: the processor saves the host's state there"),
        (0xC001_011B, 0xC001_011B, "AVIC doorbell"),
        (0xC001_011E, 0xC001_011E, "VM_PAGE_FLUSH takes an address"),
        (0xC001_0130, 0xC001_0130, "GHCB's address"),
        (0xC001_0132, 0xC001_0133, "RMP_BASE, RMP_END"),
        (0xC001_0136, 0xC001_0136, "RMP_CFG"),
        (0xC001_1030, 0xC001_103D, "IBS"),
    ];

    #[test]
    fn the_table_keeps_the_rules() {
        assert_is_closed(&TABLE);
    }

    #[test]
    fn what_holds_an_address_or_redirects_is_not_the_root_vms() {
        assert_keeps(&TABLE, DANGEROUS);
    }

    /// What Linux writes on AMD's processors (its `msr-index.h`), and EDK2.
    const WRITTEN: &[(u32, u32, &str)] = &[
        (0x10, 0x10, "TSC"),
        (0x1B, 0x1B, "APIC_BASE"),
        (0x3B, 0x3B, "TSC_ADJUST"),
        (0x48, 0x49, "SPEC_CTRL, PRED_CMD"),
        (0x8B, 0x8B, "PATCH_LEVEL"),
        (0x174, 0x176, "SYSENTER"),
        (0x17A, 0x17B, "MCG_STATUS, MCG_CTL"),
        (0x1D9, 0x1D9, "DEBUGCTL"),
        (0x200, 0x21F, "MTRRs"),
        (0x268, 0x26F, "MTRRs"),
        (0x277, 0x277, "PAT"),
        (0x2FF, 0x2FF, "MTRRs"),
        (0x400, 0x45F, "MCi"),
        (0x6A0, 0x6A0, "U_CET"),
        (0x6E0, 0x6E0, "TSC_DEADLINE"),
        (0x800, 0x83F, "x2APIC"),
        (0xC81, 0xC82, "cache allocation"),
        (0xC8F, 0xD1F, "cache allocation"),
        (0xDA0, 0xDA0, "XSS"),
        (0xC000_0080, 0xC000_0084, "EFER, STAR"),
        (0xC000_0100, 0xC000_0103, "bases, TSC_AUX"),
        (0xC000_0300, 0xC000_0302, "counters"),
        (0xC000_0408, 0xC000_0410, "MC4_MISC, MCA_INTR_CFG"),
        (0xC000_2000, 0xC000_23FF, "SMCA"),
        (0xC001_0000, 0xC001_0007, "counters"),
        (0xC001_0010, 0xC001_0010, "SYSCFG"),
        (0xC001_0015, 0xC001_001A, "HWCR, IORR, TOP_MEM"),
        (0xC001_001D, 0xC001_001D, "TOP_MEM2"),
        (0xC001_001F, 0xC001_0020, "NB_CFG, PATCH_LOADER"),
        (0xC001_0044, 0xC001_004A, "MCi_CTL_MASK"),
        (0xC001_0062, 0xC001_0062, "P-state"),
        (0xC001_011F, 0xC001_011F, "VIRT_SPEC_CTRL"),
        (0xC001_0140, 0xC001_0141, "OSVW"),
        (0xC001_0200, 0xC001_020B, "counters"),
        (0xC001_0230, 0xC001_023B, "counters"),
        (0xC001_0240, 0xC001_0247, "counters"),
        (0xC001_02B1, 0xC001_02B3, "CPPC"),
        (0xC001_02F0, 0xC001_02F0, "PPIN_CTL"),
        (0xC001_0400, 0xC001_043F, "MCA_CTL_MASK"),
        (0xC001_1004, 0xC001_1005, "CPUID overrides"),
        (0xC001_1019, 0xC001_1029, "masks of breakpoints, LS_CFG to DE_CFG"),
        (0xC001_102A, 0xC001_102E, "BU_CFG2 to BP_CFG"),
        (0xC001_10E3, 0xC001_10E3, "a workaround of Zen 2's"),
    ];

    #[test]
    fn what_an_os_writes_is_not_refused() {
        assert_serves(&TABLE, WRITTEN);
    }

    #[test]
    fn the_banks_of_smca_are_the_machines_and_not_a_guest_vms() {
        let exits = Intercepts { reads: false, writes: false };
        for register in [0xC000_2000, 0xC000_2001, 0xC000_2FFF] {
            assert_eq!(
                (TABLE.root_read(register), TABLE.root_write(register)),
                (Read::Native, Write::Native)
            );
            assert!(TABLE.check(register, false, exits, Authority::Machine).is_err());
        }
    }
}
