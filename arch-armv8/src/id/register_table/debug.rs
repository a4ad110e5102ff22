//! What looks at others: debuggers, counters, trace and profiles. All of it is the root VM's, and closed to guest VMs.

use super::{Exits, Group, Guest, Id, Root, one, rows, some};
use crate::id::controls::{Control, El2, closes, opens};
use crate::id::facts::{DFR0, DFR1, DFR2, Facts, PFR0};

fn always(_: &Facts) -> bool {
    true
}

fn has_monitor(facts: &Facts) -> bool {
    !matches!(facts.field(DFR0, 8), 0 | 0xF)
}

fn has_more_of_the_monitor(facts: &Facts) -> bool {
    has_monitor(facts) && (facts.has(DFR0, 8, 9) || facts.has(DFR0, 16, 1) || facts.has(DFR1, 36, 1))
}

/// A group that is the root VM's alone.
const fn native(
    id: Id,
    registers: &'static [super::Span],
    present: fn(&Facts) -> bool,
    controls: &'static [Control],
    reason: &'static str,
) -> Group {
    Group {
        id,
        registers,
        present,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls,
        section: "D19.3",
        reason,
    }
}

const fn both(register: El2, bits: u64) -> Control {
    Control { register, open: bits, closed: bits, absent: 0 }
}

pub(super) const GROUPS: &[Group] = &[
    native(
        Id::Debug,
        &[rows(2, 0, 0, 0, 15), rows(2, 0, 1, 0, 15), rows(2, 0, 7, 0, 15), rows(2, 3, 0, 0, 15)],
        always,
        &[closes(El2::Mdcr, 7 << 9)], // TDA, TDOSA, TDRA
        "breakpoints and watchpoints; MDSCR_EL1 alone is in the bank, by which they are off in other VMs",
    ),
    native(
        Id::DoubleLock,
        &[],
        |facts| facts.field(DFR0, 36) != 0xF,
        &[],
        "OSDLR_EL1, with the debug registers",
    ),
    native(
        Id::Monitor,
        &[
            some(3, 0, 9, 14, 1, 2), // PMINTENSET_EL1, PMINTENCLR_EL1
            one(3, 0, 9, 14, 6),     // PMMIR_EL1
            rows(3, 3, 9, 12, 12),   // PMCR_EL0 ..
            some(3, 3, 9, 13, 0, 2),
            one(3, 3, 9, 14, 0),   // PMUSERENR_EL0
            one(3, 3, 9, 14, 3),   // PMOVSSET_EL0
            rows(3, 3, 14, 8, 15), // PMEVCNTR<n>_EL0, PMEVTYPER<n>_EL0
        ],
        has_monitor,
        &[closes(El2::Mdcr, 3 << 5)], // TPM, TPMCR
        "its counters stop where it is closed, and at EL2: see `regime`",
    ),
    native(
        Id::MonitorExtensions,
        &[
            one(3, 0, 9, 13, 3), // PMSSCR_EL1
            one(3, 0, 9, 14, 4), // PMUACR_EL1
            one(3, 3, 9, 4, 0),  // PMICNTR_EL0
            one(3, 3, 9, 6, 0),  // PMICFILTR_EL0
            one(3, 3, 9, 13, 4), // PMZR_EL0
        ],
        has_more_of_the_monitor,
        // nPMICNTR_EL0, nPMICFILTR_EL0, nPMUACR_EL1, nPMSSDATA, nPMSSCR_EL1; nPMZR_EL0.
        &[opens(El2::Hdfgrtr2, 7 << 2 | 3 << 6), opens(El2::Hdfgwtr2, 7 << 2 | 1 << 7 | 1 << 21)],
        "as the monitor",
    ),
    native(
        Id::SystemMonitors,
        &[rows(2, 0, 9, 13, 14), rows(2, 3, 9, 12, 14), rows(2, 3, 14, 0, 15)],
        |facts| facts.has(DFR1, 32, 1),
        // EnSPM; nSPMEVCNTRn_EL0 to nSPMDEVAFF_EL1; the same without what is read only.
        &[opens(El2::Mdcr, 1 << 15), opens(El2::Hdfgrtr2, 0x7FF << 8), opens(El2::Hdfgwtr2, 0x1FF << 8)],
        "monitors of the machine",
    ),
    native(
        Id::Activity,
        &[rows(3, 3, 13, 2, 15)],
        |facts| facts.has(PFR0, 44, 1),
        &[closes(El2::Cptr, 1 << 30), closes(El2::CptrE2h, 1 << 30)], // TAM
        "counters of the processor's activity, which run in all VMs",
    ),
    native(
        Id::TraceUnit,
        &[
            rows(2, 1, 0, 0, 15),
            rows(2, 1, 1, 0, 15),
            rows(2, 1, 2, 0, 15),
            rows(2, 1, 3, 0, 15),
            rows(2, 1, 7, 0, 15),
        ],
        |facts| facts.has(DFR0, 4, 1),
        &[closes(El2::Cptr, 1 << 20), closes(El2::CptrE2h, 1 << 28)], // TTA
        "the trace unit",
    ),
    native(
        Id::TraceFilter,
        &[one(3, 0, 1, 2, 1)], // TRFCR_EL1
        |facts| facts.has(DFR0, 40, 1),
        &[closes(El2::Mdcr, 1 << 19)], // TTRF
        "in the bank where the trace buffer is, so that nothing of another VM is traced",
    ),
    native(
        Id::TraceBuffer,
        &[rows(3, 0, 9, 11, 11)], // TRB*_EL1
        |facts| facts.has(DFR0, 44, 1),
        // E2TB: 3 gives the buffer to EL1, 2 traps its registers besides. 0 would have it written by EL2's translation.
        &[Control { register: El2::Mdcr, open: 3 << 24, closed: 2 << 24, absent: 0 }],
        "written to memory by EL1's translation and stage 2; TRBLIMITR_EL1 is in the bank, and 0 in other VMs",
    ),
    native(
        Id::Instrumentation,
        &[one(3, 0, 1, 2, 3)], // TRCITECR_EL1
        |facts| facts.has(DFR1, 44, 1),
        &[opens(El2::Hdfgrtr2, 1 << 20), opens(El2::Hdfgwtr2, 1 << 20)], // nTRCITECR_EL1
        "as the trace unit",
    ),
    native(
        Id::Profiling,
        &[
            one(3, 0, 9, 9, 0),      // PMSCR_EL1
            some(3, 0, 9, 9, 2, 7),  // PMSICR_EL1 .. PMSIDR_EL1
            some(3, 0, 9, 10, 0, 1), // PMBLIMITR_EL1, PMBPTR_EL1
            one(3, 0, 9, 10, 3),     // PMBSR_EL1
            one(3, 0, 9, 10, 7),     // PMBIDR_EL1
        ],
        |facts| facts.has(DFR0, 32, 1),
        // E2PB as E2TB; TPMS. PMSCR_EL2: PCT and PA, physical time and addresses, which are the root VM's; E2SPE and E0HSPE
        // stay 0: nothing of the kernel or the extension is sampled.
        &[
            Control { register: El2::Mdcr, open: 3 << 12, closed: 2 << 12 | 1 << 14, absent: 0 },
            both(El2::Pmscr, 1 << 6 | 1 << 4),
        ],
        "written to memory by EL1's translation and stage 2; PMSCR_EL1 and PMBLIMITR_EL1 are in the bank, and 0 in other VMs",
    ),
    native(
        Id::ProfilingEvents,
        &[one(3, 0, 9, 9, 1), one(3, 0, 9, 10, 4)], // PMSNEVFR_EL1, PMSDSFR_EL1
        |facts| facts.has(DFR0, 32, 3),
        // nPMSNEVFR_EL1; nPMSDSFR_EL1.
        &[
            opens(El2::Hdfgrtr, 1 << 62),
            opens(El2::Hdfgwtr, 1 << 62),
            opens(El2::Hdfgrtr2, 1 << 19),
            opens(El2::Hdfgwtr2, 1 << 19),
        ],
        "as profiling",
    ),
    native(
        Id::Branches,
        &[rows(2, 1, 8, 0, 15), rows(2, 1, 9, 0, 2)],
        |facts| facts.has(DFR0, 52, 1),
        // nBRBIDR, nBRBCTL, nBRBDATA; nBRBINJ, nBRBIALL. BRBCR_EL2: CC and MPRED, which EL1 cannot have without; E2BRE and E0HBRE
        // stay 0: nothing of the kernel or the extension is recorded.
        &[
            opens(El2::Hdfgrtr, 7 << 59),
            opens(El2::Hdfgwtr, 3 << 60),
            opens(El2::Hfgitr, 3 << 55),
            both(El2::Brbcr, 3 << 3),
        ],
        "records of branches; BRBCR_EL1 is in the bank, and 0 in other VMs",
    ),
    Group {
        root: Root::Hidden,
        ..native(
            Id::MonitorExceptions,
            &[one(3, 0, 9, 14, 5), one(3, 0, 9, 14, 7)], // PMECR_EL1, PMIAR_EL1
            |facts| facts.has(DFR0, 24, 1) || facts.has(DFR1, 48, 1),
            &[],
            "MDCR_EL2.PMEE is 0: a counter is told of by an interrupt",
        )
    },
    Group {
        root: Root::Hidden,
        ..native(
            Id::Breakpoints2,
            &[],
            |facts| facts.has(DFR2, 0, 1) || facts.has(DFR2, 4, 1) || facts.has(DFR1, 40, 1),
            &[],
            "MDCR_EL2.EBWE and EnSTEPOP are 0: the first 16 breakpoints, and no stepping of replaced instructions",
        )
    },
];
