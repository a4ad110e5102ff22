//! What the machine has once, and what ends a guest's turn: the root VM's, or the kernel's. Behind that what no VM has.

use super::{Exits, Group, Guest, Id, Root, one, rows, some};
use crate::id::controls::{El2, closes, opens};
use crate::id::facts::{Facts, ISAR0, ISAR2, MMFR1, MMFR3, MMFR4, PFR0, PFR1, PFR2};

fn always(_: &Facts) -> bool {
    true
}

fn has_errors(facts: &Facts) -> bool {
    facts.has(PFR0, 28, 1)
}

fn has_injection(facts: &Facts) -> bool {
    facts.has(PFR0, 28, 2) || has_errors(facts) && facts.has(PFR1, 12, 1)
}

fn has_partitioning(facts: &Facts) -> bool {
    facts.has(PFR0, 40, 1)
}

fn has_partition_control(facts: &Facts) -> bool {
    has_partitioning(facts) && facts.details.partitioning & 1 << 17 != 0
}

/// A group that no VM has: its controls stay 0, and its ID fields are hidden.
const fn nobodys(
    id: Id,
    registers: &'static [super::Span],
    present: fn(&Facts) -> bool,
    reason: &'static str,
) -> Group {
    Group {
        id,
        registers,
        present,
        root: Root::Hidden,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[],
        section: "D19.2",
        reason,
    }
}

pub(super) const GROUPS: &[Group] = &[
    Group {
        id: Id::Implementation,
        registers: &[
            one(3, 0, 1, 0, 1), // ACTLR_EL1
            rows(3, 0, 11, 0, 15),
            rows(3, 1, 11, 0, 15),
            rows(3, 2, 11, 0, 15),
            rows(3, 3, 11, 0, 15),
            rows(3, 0, 15, 0, 15),
            rows(3, 1, 15, 0, 15),
            rows(3, 2, 15, 0, 15),
            rows(3, 3, 15, 0, 15),
        ],
        present: always,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[closes(El2::Hcr, 3 << 20)], // TIDCP, TACR
        section: "D12.3.2",
        reason: "what an implementation defines: the firmware says by ACTLR_EL2 and EL3's what the root VM reaches",
    },
    Group {
        id: Id::SetWay,
        registers: &[one(1, 0, 7, 6, 2), one(1, 0, 7, 10, 2), one(1, 0, 7, 14, 2)], // DC ISW, CSW, CISW
        present: always,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[closes(El2::Hcr, 1 << 22)], // TSW
        section: "D7.5.9",
        reason: "whole caches are the machine's; HCR_EL2.SWIO has the root VM lose nothing by it",
    },
    Group {
        id: Id::Errors,
        registers: &[
            some(3, 0, 5, 3, 0, 2), // ERRIDR_EL1, ERRSELR_EL1, ERXGSR_EL1
            some(3, 0, 5, 4, 0, 3), // ERXFR_EL1, ERXCTLR_EL1, ERXSTATUS_EL1, ERXADDR_EL1
            some(3, 0, 5, 5, 0, 3), // ERXMISC<n>_EL1
            one(3, 0, 12, 1, 1),    // DISR_EL1
        ],
        present: has_errors,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        // TERR; nERXGSR_EL1.
        controls: &[closes(El2::Hcr, 1 << 36), opens(El2::Hfgrtr2, 1 << 1)],
        section: "D19.2, HCR_EL2.TERR",
        reason: "error records are the machine's: who writes them can clear or disable them. Of DISR_EL1 a guest VM has the virtual one",
    },
    Group {
        id: Id::ErrorInjection,
        registers: &[some(3, 0, 5, 4, 4, 6)], // ERXPFGF_EL1, ERXPFGCTL_EL1, ERXPFGCDN_EL1
        present: has_injection,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hcr, 1 << 47)], // FIEN
        section: "D19.2, HCR_EL2.FIEN",
        reason: "as the error records",
    },
    Group {
        id: Id::FaultAddress,
        registers: &[one(3, 0, 6, 0, 5)], // PFAR_EL1
        present: |facts| facts.has(PFR1, 60, 1),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hfgrtr2, 1), opens(El2::Hfgwtr2, 1)], // nPFAR_EL1
        section: "D19.2, PFAR_EL1",
        reason: "physical addresses are the root VM's alone",
    },
    Group {
        id: Id::OrderingRegions,
        registers: &[some(3, 0, 10, 4, 0, 3), one(3, 0, 10, 4, 7)], // LORSA, LOREA, LORN, LORC, LORID_EL1
        present: |facts| facts.has(MMFR1, 16, 1),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[closes(El2::Hcr, 1 << 35)], // TLOR
        section: "D8.12",
        reason: "regions of physical memory",
    },
    Group {
        id: Id::Partitioning,
        registers: &[
            some(3, 0, 10, 5, 0, 3), // MPAM1_EL1, MPAM0_EL1, MPAMSM_EL1
        ],
        present: has_partitioning,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        // EnMPAMSM; TRAPMPAM1EL1, TRAPMPAM0EL1. EL2's own accesses have the default's mark (PARTID 0).
        controls: &[opens(El2::Mpam2, 1 << 50), closes(El2::Mpam2, 3 << 48)],
        section: "D9",
        reason: "shares of caches and of memory's bandwidth are the machine's",
    },
    Group {
        id: Id::PartitionNames,
        registers: &[one(3, 0, 10, 4, 4)], // MPAMIDR_EL1
        present: has_partition_control,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[closes(El2::Mpamhcr, 1 << 31)], // TRAP_MPAMIDR_EL1
        section: "D9",
        reason: "as above; a processor without MPAMHCR_EL2 shows this constant",
    },
    Group {
        id: Id::Interrupts,
        registers: &[
            one(3, 0, 4, 6, 0),    // ICC_PMR_EL1
            rows(3, 0, 12, 8, 11), // ICC_*
            some(3, 0, 12, 12, 0, 4),
            some(3, 0, 12, 12, 6, 7),
        ],
        present: |facts| facts.has(PFR0, 24, 1),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[],
        section: "IHI 0069, 12.2",
        reason: "the machine's controller. ICH_HCR_EL2 traps it for guest VMs, and for the root VM while its IRQs come to EL2: see `interface`",
    },
    Group {
        id: Id::InterruptEnable,
        registers: &[one(3, 0, 12, 12, 5)], // ICC_SRE_EL1
        present: |facts| facts.has(PFR0, 24, 1),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        // SRE, DFB, DIB; Enable: EL1 has its own.
        controls: &[crate::id::controls::Control {
            register: El2::IccSre,
            open: 0xF,
            closed: 7,
            absent: 0xF,
        }],
        section: "IHI 0069, ICC_SRE_EL2",
        reason: "where SRE can be cleared, a guest VM would take the system registers from the root VM",
    },
    Group {
        id: Id::NonMaskable,
        registers: &[one(3, 0, 4, 3, 0)], // ALLINT
        present: |facts| facts.has(PFR1, 36, 1),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[closes(El2::Hcrx, 1 << 6)], // TALLINT
        section: "D19.2, HCRX_EL2",
        reason: "guest VMs have no interrupts that cannot be masked",
    },
    Group {
        id: Id::PersistentStorage,
        registers: &[],
        present: |facts| facts.has(MMFR4, 0, 1),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hfgitr2, 1 << 1)], // nDCCIVAPS
        section: "C5.3, DC CIVAPS",
        reason: "the machine's memory",
    },
    Group {
        id: Id::Calls,
        registers: &[],
        present: always,
        root: Root::Hidden,
        guest: Guest::Served,
        exits: Exits::No,
        controls: &[closes(El2::Hcr, 1 << 19)], // TSC
        section: "D1.3, SMC",
        reason: "starting a processor by the firmware means entering EL2",
    },
    Group {
        id: Id::Waits,
        registers: &[],
        present: always,
        root: Root::Native,
        guest: Guest::Served,
        exits: Exits::No,
        controls: &[closes(El2::Hcr, 1 << 13)], // TWI
        section: "D1.6",
        reason: "a guest VM that waits gives the processor back",
    },
    Group {
        id: Id::Exceptions,
        registers: &[],
        present: always,
        root: Root::Native,
        guest: Guest::Served,
        exits: Exits::No,
        controls: &[closes(El2::Hcr, 7 << 3)], // FMO, IMO, AMO
        section: "D1.3.6",
        reason: "interrupts and errors are the root VM's: they end a guest VM's turn, which has virtual ones",
    },
    Group {
        id: Id::El2,
        registers: &[],
        present: always,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[],
        section: "D12.3.1",
        reason: "ID fields that say what EL2 and EL3 have: the root VM sees the machine's, and reaches nothing of it",
    },
    nobodys(
        Id::GicV5,
        &[],
        |facts| facts.has(PFR2, 12, 1),
        "GICv5 is not supported; its traps are closed where they are 0",
    ),
    nobodys(
        Id::Overlays2,
        &[one(3, 0, 10, 2, 5)], // S2POR_EL1
        |facts| facts.has(MMFR3, 20, 1),
        "means something with stage 2's overlays alone, which the kernel does not use",
    ),
    nobodys(
        Id::Attributes2,
        &[one(3, 0, 10, 2, 1), one(3, 0, 10, 3, 1)], // MAIR2_EL1, AMAIR2_EL1
        |facts| facts.has(MMFR3, 24, 1),
        "firmware may keep them (SCR_EL3.AIEn)",
    ),
    nobodys(
        Id::Translation128,
        &[],
        |facts| facts.has(MMFR3, 32, 1) || facts.has(ISAR2, 32, 1) || facts.has(ISAR2, 36, 1),
        "the bank moves registers of 64 bits",
    ),
    nobodys(
        Id::Masks,
        &[
            some(3, 0, 1, 4, 0, 3), // SCTLRMASK_EL1, ACTLRMASK_EL1, CPACRMASK_EL1, SCTLR2MASK_EL1
            some(3, 0, 1, 4, 4, 7), // CPACRALIAS_EL1, ACTLRALIAS_EL1, SCTLRALIAS_EL1, SCTLR2ALIAS_EL1
            some(3, 0, 2, 7, 2, 3), // TCRMASK_EL1, TCR2MASK_EL1
            some(3, 0, 2, 7, 6, 7), // TCRALIAS_EL1, TCR2ALIAS_EL1
        ],
        |facts| facts.has(MMFR4, 44, 1),
        "not in the bank",
    ),
    nobodys(
        Id::TranslationHardening,
        &[one(3, 0, 13, 0, 3), one(3, 0, 13, 0, 6)], // RCWSMASK_EL1, RCWMASK_EL1
        |facts| facts.has(PFR1, 48, 1),
        "firmware may keep them (SCR_EL3.RCWMASKEn)",
    ),
    nobodys(
        Id::Transactions,
        &[],
        |facts| facts.has(ISAR0, 24, 1),
        "HCR_EL2.TME is 0: a processor that has them traps them",
    ),
    nobodys(
        Id::Later,
        &[],
        always,
        "what a later version of the architecture adds: ID fields that the tables do not have",
    ),
];
