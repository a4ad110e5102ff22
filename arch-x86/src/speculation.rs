//! Mitigations of speculative side channels: which vulnerabilities the processor has, by CPUID and
//! IA32_ARCH_CAPABILITIES, and which mitigations the kernel therefore uses. The kernel decides once, at the
//! launch.
//!
//! * Meltdown and MDS, between the extension and the kernel: page tables of its own for ring 3 (KPTI), and
//!   VERW.
//! * Predictors and the L1 data cache, between two VSs: IBPB and L1D_FLUSH ([`Barriers`]).
//! * Predictors, between guest and kernel on AMD: automatic IBRS.
//! * iTLB multihit, a machine check that a guest can cause on Intel: no large leaves for code in the nested
//!   tables.

use plinth_kernel::options;

use crate::{cpuid, msr};

/// The kernel's option that overrides whether ring 3 gets page tables of its own (KPTI):
///
/// | Option | Meaning |
/// | --- | --- |
/// | `separate-tables=on` | always |
/// | `separate-tables=off` | never |
const SEPARATE_TABLES: &str = "separate-tables=";

/// CPUID 7.0 EDX: VERW clears the buffers that microarchitectural data sampling reads (Intel SDM vol. 2A,
/// CPUID).
const MD_CLEAR: u32 = 1 << 10;
/// CPUID 7.0 EDX: IBPB by IA32_PRED_CMD, with IBRS (Intel SDM vol. 2A, CPUID).
const IBRS_IBPB: u32 = 1 << 26;
/// CPUID 7.0 EDX: L1D_FLUSH by IA32_FLUSH_CMD (Intel SDM vol. 2A, CPUID).
const L1D_FLUSH: u32 = 1 << 28;
/// CPUID 8000_0008 EBX: IBPB (AMD APM vol. 3, appendix E.4.7).
const IBPB: u32 = 1 << 12;
/// CPUID 8000_0021 EAX: EFER.AIBRSE is there (AMD APM vol. 3, appendix E.4.19).
const AUTOMATIC_IBRS: u32 = 1 << 8;
/// EFER.AIBRSE: branch predictions trained by less privileged code, or by a guest, are not used in the kernel
/// (AMD APM vol. 2, "Automatic IBRS").
const EFER_AIBRSE: u64 = 1 << 21;
/// CPUID 7.0 EDX: IA32_ARCH_CAPABILITIES is there (Intel SDM vol. 2A, CPUID).
const HAS_CAPABILITIES: u32 = 1 << 29;
/// IA32_ARCH_CAPABILITIES (Intel SDM vol. 4, table 2-2): the processor has neither Meltdown nor L1TF.
const RDCL_NO: u64 = 1 << 0;
/// IA32_ARCH_CAPABILITIES: the processor does not have microarchitectural data sampling (MDS).
const MDS_NO: u64 = 1 << 5;
/// IA32_ARCH_CAPABILITIES: the processor does not have iTLB multihit.
const PSCHANGE_MC_NO: u64 = 1 << 6;
/// Models of Intel's family 6 with EPT and without iTLB multihit, also where PSCHANGE_MC_NO is clear:
/// Silvermont, Airmont, Goldmont and Tremont in their variants, and the Xeon Phi (Intel, "Machine Check Error
/// on Page Size Change", affected processors).
const WITHOUT_ITLB_MULTIHIT: [u32; 14] =
    [0x37, 0x4A, 0x4C, 0x4D, 0x57, 0x5A, 0x5C, 0x5F, 0x75, 0x7A, 0x85, 0x86, 0x96, 0x9C];

/// The processor's identity, and the feature words that tell its vulnerabilities and mitigations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Processor {
    /// The vendor's name (CPUID 0).
    vendor: [u8; 12],
    /// EAX of CPUID 1: family and model.
    signature: u32,
    /// EDX of CPUID 7.0.
    features: u32,
    /// EBX of CPUID 8000_0008.
    amd_features: u32,
    /// EAX of CPUID 8000_0021.
    amd_more_features: u32,
    /// IA32_ARCH_CAPABILITIES; 0 without the MSR.
    capabilities: u64,
}

impl Processor {
    /// Reads the words of the current processor.
    pub fn current() -> Self {
        let [_, _, _, features] = leaf(7);
        let capabilities = if features & HAS_CAPABILITIES == 0 {
            0
        } else {
            // SAFETY: CPUID says that the processor has the MSR, and reading changes nothing.
            unsafe { msr::read(msr::index::ARCH_CAPABILITIES) }
        };
        let ([_, amd_features, ..], [amd_more_features, ..]) = (leaf(0x8000_0008), leaf(0x8000_0021));
        let [signature, ..] = leaf(1);
        Self { vendor: vendor(leaf(0)), signature, features, amd_features, amd_more_features, capabilities }
    }

    /// Whether the processor has iTLB multihit (CVE-2018-12207): a guest whose nested tables map code by
    /// large leaves can stop the machine, when it changes the size of a page that it executes. AMD's
    /// processors do not have it.
    pub fn has_itlb_multihit(&self) -> bool {
        const FAMILY_6: u32 = 6;
        let family = self.signature >> 8 & 15;
        let model = self.signature >> 4 & 15 | self.signature >> 12 & 0xF0;
        let spared = family == FAMILY_6 && WITHOUT_ITLB_MULTIHIT.contains(&model);
        !self.is_amd() && self.capabilities & PSCHANGE_MC_NO == 0 && !spared
    }

    /// Whether ring 3 gets page tables of its own (KPTI): as the command line says, else if the processor
    /// needs it.
    pub fn separates_tables(&self, command_line: &[u8]) -> bool {
        options::switch(command_line, SEPARATE_TABLES).unwrap_or(self.leaks_what_is_mapped())
    }

    /// The barriers between two VSs, which may belong to two VMs, or to two trust levels of one VM. An Intel
    /// processor with RDCL_NO does not have L1TF and needs no L1D_FLUSH.
    pub(crate) fn barriers(&self) -> Barriers {
        Barriers {
            predictors: self.features & IBRS_IBPB != 0 || self.amd_features & IBPB != 0,
            l1_data: self.features & L1D_FLUSH != 0 && self.capabilities & RDCL_NO == 0,
        }
    }

    /// Whether VERW is to clear the CPU's buffers before each entry to ring 3 or a guest (MDS): the processor
    /// needs it, and its microcode supports it.
    pub fn clears_buffers(&self) -> bool {
        self.features & MD_CLEAR != 0 && self.capabilities & MDS_NO == 0
    }

    /// Bits to set in the kernel's EFER: AIBRSE, where the processor has it. It costs nothing, since VMRUN
    /// and #VMEXIT switch EFER anyway.
    pub fn efer(&self) -> u64 {
        if self.amd_more_features & AUTOMATIC_IBRS != 0 { EFER_AIBRSE } else { 0 }
    }

    fn is_amd(&self) -> bool {
        matches!(&self.vendor, b"AuthenticAMD" | b"HygonGenuine")
    }

    /// Whether the processor needs KPTI: it has Meltdown, by which ring 3 reads kernel memory that its page
    /// tables map, or MDS, by which ring 3 reads data that the kernel has just used. KPTI stands for both,
    /// since the code that switches CR3 for ring 3 also executes VERW. AMD's processors have neither. A
    /// processor that does not deny a vulnerability counts as vulnerable.
    fn leaks_what_is_mapped(&self) -> bool {
        match &self.vendor {
            _ if self.is_amd() => false,
            b"GenuineIntel" => self.capabilities & (RDCL_NO | MDS_NO) != RDCL_NO | MDS_NO,
            _ => true,
        }
    }
}

/// The speculation barriers that a processor executes when it switches from one VS to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Barriers {
    /// IBPB: flush the branch predictors.
    predictors: bool,
    /// Flush the L1 data cache.
    l1_data: bool,
}

impl Barriers {
    /// No barrier.
    pub(crate) const NONE: Self = Self { predictors: false, l1_data: false };

    /// Executes the barriers, so that the next VS finds nothing of the last one in predictors and the L1 data
    /// cache.
    pub(crate) fn cross(self) {
        // SAFETY: the processor has the command MSRs, and the commands only cost time.
        unsafe {
            if self.predictors {
                msr::write(msr::index::PREDICTOR_COMMAND, 1);
            }
            if self.l1_data {
                msr::write(msr::index::FLUSH_COMMAND, 1);
            }
        }
    }
}

/// A leaf of CPUID; zeroes beyond the processor's last leaf.
fn leaf(number: u32) -> [u32; 4] {
    let [last, ..] = cpuid::native(number & 0x8000_0000, 0);
    if number > last { [0; 4] } else { cpuid::native(number, 0) }
}

fn vendor([_, ebx, ecx, edx]: [u32; 4]) -> [u8; 12] {
    let mut name = [0; 12];
    for (bytes, word) in name.chunks_exact_mut(4).zip([ebx, edx, ecx]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEL: Processor = Processor {
        vendor: *b"GenuineIntel",
        signature: 0x306C3,
        features: 0,
        amd_features: 0,
        amd_more_features: 0,
        capabilities: 0,
    };
    const AMD: Processor = Processor { vendor: *b"AuthenticAMD", ..INTEL };

    #[test]
    fn a_processor_leaks_unless_its_vendor_says_that_it_does_not() {
        assert!(!AMD.separates_tables(b""));
        assert!(INTEL.separates_tables(b""));
        assert!(Processor { vendor: *b"CentaurHauls", ..INTEL }.separates_tables(b""));
        for (capabilities, separate) in [(RDCL_NO, true), (MDS_NO, true), (RDCL_NO | MDS_NO, false)] {
            assert_eq!(
                Processor { capabilities, ..INTEL }.separates_tables(b""),
                separate,
                "{capabilities:#x}"
            );
        }
    }

    #[test]
    fn the_command_line_overrides_it() {
        assert!(AMD.separates_tables(b"watchdog=7 separate-tables=on"));
        assert!(!INTEL.separates_tables(b"separate-tables=on separate-tables=off"));
        assert!(INTEL.separates_tables(b"separate-tables=perhaps"));
    }

    #[test]
    fn the_barriers_are_those_that_the_processor_has_and_needs() {
        let barriers = |processor: Processor| {
            let Barriers { predictors, l1_data } = processor.barriers();
            (predictors, l1_data)
        };
        assert_eq!(barriers(INTEL), (false, false));
        let features = IBRS_IBPB | L1D_FLUSH;
        assert_eq!(barriers(Processor { features, ..INTEL }), (true, true));
        assert_eq!(barriers(Processor { features, capabilities: RDCL_NO, ..INTEL }), (true, false));
        assert_eq!(barriers(Processor { amd_features: IBPB, ..AMD }), (true, false));
    }

    #[test]
    fn buffers_are_cleared_where_that_helps() {
        assert!(!INTEL.clears_buffers(), "the microcode does nothing");
        assert!(Processor { features: MD_CLEAR, ..INTEL }.clears_buffers());
        assert!(!Processor { features: MD_CLEAR, capabilities: MDS_NO, ..INTEL }.clears_buffers());
    }

    #[test]
    fn a_guest_may_stop_a_processor_that_does_not_deny_it() {
        let of = |signature| Processor { signature, ..INTEL };
        assert!(INTEL.has_itlb_multihit(), "a Haswell");
        assert!(of(0x50654).has_itlb_multihit(), "a Skylake");
        assert!(
            !Processor { capabilities: PSCHANGE_MC_NO, ..of(0x50657) }.has_itlb_multihit(),
            "a Cascade Lake"
        );
        assert!(!of(0x506F1).has_itlb_multihit(), "a Denverton");
        assert!(of(0x80006F1).has_itlb_multihit(), "its low digits alone say nothing");
        assert!(!AMD.has_itlb_multihit());
        assert!(Processor { vendor: *b"CentaurHauls", ..INTEL }.has_itlb_multihit());
    }

    #[test]
    fn automatic_ibrs_is_used_where_it_is() {
        assert_eq!(AMD.efer(), 0);
        assert_eq!(Processor { amd_more_features: AUTOMATIC_IBRS, ..AMD }.efer(), EFER_AIBRSE);
    }

    #[test]
    fn a_leaf_that_is_not_there_is_zero() {
        assert_eq!(leaf(0x7fff_ffff), [0; 4]);
        assert_ne!(leaf(0), [0; 4]);
    }

    #[test]
    fn the_vendor_is_spelled_by_three_registers() {
        assert_eq!(&vendor([0xD, 0x756E_6547, 0x6C65_746E, 0x4965_6E69]), b"GenuineIntel");
    }
}
