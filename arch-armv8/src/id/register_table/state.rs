//! What programs and their OS have: it belongs to a virtual state, or is closed to guest VMs where only the root VM's is kept.

use super::{Exits, Group, Guest, Id, Root, one, rows, some};
use crate::id::controls::{Control, El2, closes, opens};
use crate::id::facts::{FPFR0, Facts, ISAR1, ISAR2, ISAR3, MMFR3, PFR0, PFR1, PFR2, SMFR0};

fn always(_: &Facts) -> bool {
    true
}

/// FP is there unless the field says no.
fn has_fp(facts: &Facts) -> bool {
    facts.field(PFR0, 16) != 0xF
}

fn has_pointer_authentication(facts: &Facts) -> bool {
    [(ISAR1, 4), (ISAR1, 8), (ISAR1, 24), (ISAR1, 28), (ISAR2, 8), (ISAR2, 12)]
        .into_iter()
        .any(|(register, shift)| facts.has(register, shift, 1))
}

fn has_contexts(facts: &Facts) -> bool {
    facts.has(PFR0, 56, 2) || facts.has(PFR0, 56, 1) && facts.has(PFR1, 32, 2)
}

fn has_sme(facts: &Facts) -> bool {
    facts.has(PFR1, 24, 1)
}

pub(super) const GROUPS: &[Group] = &[
    Group {
        id: Id::Base,
        registers: &[
            one(3, 0, 1, 0, 0),      // SCTLR_EL1
            one(3, 0, 1, 0, 2),      // CPACR_EL1
            some(3, 0, 2, 0, 0, 2),  // TTBR0_EL1, TTBR1_EL1, TCR_EL1
            some(3, 0, 4, 0, 0, 1),  // SPSR_EL1, ELR_EL1
            one(3, 0, 4, 1, 0),      // SP_EL0
            some(3, 0, 5, 1, 0, 1),  // AFSR0_EL1, AFSR1_EL1
            one(3, 0, 5, 2, 0),      // ESR_EL1
            one(3, 0, 6, 0, 0),      // FAR_EL1
            one(3, 0, 7, 4, 0),      // PAR_EL1
            one(3, 0, 10, 2, 0),     // MAIR_EL1
            one(3, 0, 10, 3, 0),     // AMAIR_EL1
            one(3, 0, 12, 0, 0),     // VBAR_EL1
            one(3, 0, 13, 0, 1),     // CONTEXTIDR_EL1
            one(3, 0, 13, 0, 4),     // TPIDR_EL1
            one(3, 2, 0, 0, 0),      // CSSELR_EL1
            some(3, 3, 13, 0, 2, 3), // TPIDR_EL0, TPIDRRO_EL0
            one(3, 4, 4, 1, 0),      // SP_EL1
        ],
        present: always,
        root: Root::Own,
        guest: Guest::Own,
        exits: Exits::Writes,
        controls: &[],
        section: "D19.2",
        reason: "what an OS translates and takes exceptions by; in the bank",
    },
    Group {
        id: Id::Pstate,
        registers: &[
            one(3, 0, 4, 2, 0),     // SPSel
            some(3, 0, 4, 2, 2, 4), // CurrentEL, PAN, UAO
            some(3, 3, 4, 2, 0, 1), // NZCV, DAIF
            some(3, 3, 4, 2, 5, 7), // DIT, SSBS, TCO
        ],
        present: always,
        root: Root::Own,
        guest: Guest::Own,
        exits: Exits::No,
        controls: &[],
        section: "C5.2",
        reason: "PSTATE, which each exception keeps",
    },
    Group {
        id: Id::Constants,
        registers: &[
            one(3, 0, 0, 0, 0),     // MIDR_EL1
            some(3, 0, 0, 0, 5, 6), // MPIDR_EL1, REVIDR_EL1
            some(3, 1, 0, 0, 0, 2), // CCSIDR_EL1, CLIDR_EL1, CCSIDR2_EL1
            some(3, 1, 0, 0, 6, 7), // SMIDR_EL1, AIDR_EL1
            one(3, 3, 0, 0, 1),     // CTR_EL0
            one(3, 3, 0, 0, 7),     // DCZID_EL0
            some(3, 3, 2, 4, 0, 1), // RNDR, RNDRRS
            one(3, 0, 12, 1, 0),    // ISR_EL1
        ],
        present: always,
        root: Root::Native,
        guest: Guest::Stateless,
        exits: Exits::No,
        controls: &[],
        section: "D19.2",
        reason: "read only: names, caches, random numbers, and what waits for the VM itself",
    },
    Group {
        id: Id::Ids,
        registers: &[rows(3, 0, 0, 1, 7)],
        present: always,
        root: Root::Native,
        guest: Guest::Served,
        exits: Exits::Reads,
        controls: &[closes(El2::Hcr, 1 << 18)], // TID3
        section: "D12.3.1",
        reason: "they show what this table keeps; the root VM's are trapped where they hide something",
    },
    Group {
        id: Id::Fp,
        registers: &[some(3, 3, 4, 4, 0, 1)], // FPCR, FPSR
        present: has_fp,
        root: Root::Own,
        guest: Guest::Own,
        exits: Exits::No,
        // TFP; FPEN: closed to EL0 under the kernel, open to EL1.
        controls: &[
            closes(El2::Cptr, 1 << 10),
            Control { register: El2::CptrE2h, open: 1 << 20, closed: 1 << 20, absent: 1 << 20 },
        ],
        section: "A1.5",
        reason: "moves with the vectors",
    },
    Group {
        id: Id::Timers,
        registers: &[
            one(3, 0, 14, 1, 0),     // CNTKCTL_EL1
            some(3, 3, 14, 0, 0, 2), // CNTFRQ_EL0, CNTPCT_EL0, CNTVCT_EL0
            some(3, 3, 14, 0, 5, 6), // CNTPCTSS_EL0, CNTVCTSS_EL0
            some(3, 3, 14, 2, 0, 2), // CNTP_TVAL_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0
            some(3, 3, 14, 3, 0, 2), // CNTV_TVAL_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0
        ],
        present: always,
        root: Root::Own,
        guest: Guest::Own,
        exits: Exits::No,
        // EL1PCTEN and EL1PCEN; EL1PCTEN and EL1PTEN.
        controls: &[opens(El2::Cnthctl, 3), opens(El2::CnthctlE2h, 3 << 10)],
        section: "D11.2",
        reason: "the timers are in the bank, the counters change for nobody",
    },
    Group {
        id: Id::PointerAuthentication,
        registers: &[some(3, 0, 2, 1, 0, 3), some(3, 0, 2, 2, 0, 3), some(3, 0, 2, 3, 0, 1)],
        present: has_pointer_authentication,
        root: Root::Own,
        guest: Guest::Own,
        exits: Exits::No,
        controls: &[opens(El2::Hcr, 3 << 40)], // APK, API
        section: "D8.10",
        reason: "the five keys are in the bank",
    },
    Group {
        id: Id::PacMarks,
        registers: &[],
        present: |facts| facts.has(ISAR3, 12, 2),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hcrx, 1 << 24)], // PACMEn
        section: "C6.2, PACM",
        reason: "PSTATE.PACM; SCTLR2_EL1 governs it, which guest VMs have not",
    },
    Group {
        id: Id::Tags,
        registers: &[
            some(3, 0, 1, 0, 5, 6), // RGSR_EL1, GCR_EL1
            some(3, 0, 5, 6, 0, 1), // TFSR_EL1, TFSRE0_EL1
        ],
        present: |facts| facts.has(PFR1, 8, 2),
        root: Root::Own,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hcr, 1 << 56)], // ATA
        section: "D10",
        reason: "the registers are in the bank; tags in memory would go from one VM to another with the page",
    },
    Group {
        id: Id::TagBlocks,
        registers: &[one(3, 1, 0, 0, 4)], // GMID_EL1
        present: |facts| facts.has(PFR1, 8, 2),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[closes(El2::Hcr, 1 << 58)], // TID5
        section: "D10",
        reason: "a constant of what guest VMs have not",
    },
    Group {
        id: Id::Contexts,
        registers: &[one(3, 0, 13, 0, 7), one(3, 3, 13, 0, 7)], // SCXTNUM_EL1, SCXTNUM_EL0
        present: has_contexts,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hcr, 1 << 53)], // EnSCXT
        section: "D19.2, SCXTNUM_EL1",
        reason: "firmware may keep them (SCR_EL3.EnSCXT), so that the kernel does not touch them",
    },
    Group {
        id: Id::Sve,
        registers: &[one(3, 0, 1, 2, 0)], // ZCR_EL1
        present: |facts| facts.has(PFR0, 32, 1),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        // TZ, RES1 without SVE; ZEN: closed to EL0 under the kernel alone.
        controls: &[
            Control { register: El2::Cptr, open: 0, closed: 1 << 8, absent: 1 << 8 },
            opens(El2::CptrE2h, 1 << 16),
        ],
        section: "D19.2, CPTR_EL2",
        reason: "the vectors of the root VM are kept whole, guest VMs have SIMD",
    },
    Group {
        id: Id::Sme,
        registers: &[
            one(3, 0, 1, 2, 6), // SMCR_EL1
            one(3, 3, 4, 2, 2), // SVCR
        ],
        present: has_sme,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        // TSM, RES1 without SME; SMEN; LEN. HCRX_EL2.SMPME stays 0: priorities are not mapped.
        controls: &[
            Control { register: El2::Cptr, open: 0, closed: 1 << 12, absent: 1 << 12 },
            opens(El2::CptrE2h, 1 << 24),
            Control { register: El2::Smcr, open: 0xF, closed: 0xF, absent: 0 },
        ],
        section: "D19.2, CPTR_EL2",
        reason: "streaming mode moves with the vectors; ZA stays, since nobody else reaches it",
    },
    Group {
        id: Id::StreamingThread,
        registers: &[one(3, 0, 1, 2, 4), one(3, 3, 13, 0, 5)], // SMPRI_EL1, TPIDR2_EL0
        present: has_sme,
        root: Root::Own,
        guest: Guest::Own,
        exits: Exits::No,
        controls: &[opens(El2::Hfgrtr, 3 << 54), opens(El2::Hfgwtr, 3 << 54)], // nSMPRI_EL1, nTPIDR2_EL0
        section: "D19.2, TPIDR2_EL0",
        reason: "in the bank; only fine-grained traps could close them, which not every emulator of SME has",
    },
    Group {
        id: Id::Sme2,
        registers: &[],
        present: |facts| has_sme(facts) && (facts.has(PFR1, 24, 2) || facts.has(SMFR0, 56, 1)),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Smcr, 1 << 30)], // EZT0
        section: "D19.2, SMCR_EL2",
        reason: "ZT0 stays in the processor as ZA does, and SME is closed to guest VMs",
    },
    Group {
        id: Id::FpMode,
        registers: &[one(3, 3, 4, 4, 2)], // FPMR
        present: |facts| facts.has(PFR2, 32, 1) || facts.ids[FPFR0.index()] != 0,
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hcrx, 1 << 23)], // EnFPM
        section: "D19.2, HCRX_EL2",
        reason: "governs 8-bit FP alone, which guest VMs have not",
    },
    Group {
        id: Id::ExtendedTcr,
        registers: &[one(3, 0, 2, 0, 3)], // TCR2_EL1
        present: |facts| facts.has(MMFR3, 0, 1),
        root: Root::Own,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hcrx, 1 << 14)], // TCR2En; where 0, the register counts as 0
        section: "D19.2, HCRX_EL2",
        reason: "in the bank",
    },
    Group {
        id: Id::ExtendedSctlr,
        registers: &[one(3, 0, 1, 0, 3)], // SCTLR2_EL1
        present: |facts| facts.has(MMFR3, 4, 1),
        root: Root::Own,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hcrx, 1 << 15)], // SCTLR2En; where 0, the register counts as 0
        section: "D19.2, HCRX_EL2",
        reason: "in the bank",
    },
    Group {
        id: Id::Permissions,
        registers: &[some(3, 0, 10, 2, 2, 3)], // PIRE0_EL1, PIR_EL1
        present: |facts| facts.has(MMFR3, 8, 1),
        root: Root::Own,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hfgrtr, 3 << 57), opens(El2::Hfgwtr, 3 << 57)], // nPIRE0_EL1, nPIR_EL1
        section: "D8.4",
        reason: "in the bank; TCR2_EL1 turns them on, which guest VMs have not",
    },
    Group {
        id: Id::Overlays,
        registers: &[one(3, 0, 10, 2, 4), one(3, 3, 10, 2, 4)], // POR_EL1, POR_EL0
        present: |facts| facts.has(MMFR3, 16, 1),
        root: Root::Own,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hfgrtr, 3 << 59), opens(El2::Hfgwtr, 3 << 59)], // nPOR_EL0, nPOR_EL1
        section: "D8.4",
        reason: "in the bank; TCR2_EL1 turns them on, which guest VMs have not",
    },
    Group {
        id: Id::ControlStack,
        registers: &[some(3, 0, 2, 5, 0, 2), one(3, 3, 2, 5, 1)], // GCSCR_EL1, GCSPR_EL1, GCSCRE0_EL1, GCSPR_EL0
        present: |facts| facts.has(PFR1, 44, 1),
        root: Root::Own,
        guest: Guest::Closed,
        exits: Exits::No,
        // GCSEn; nGCS_EL0 and nGCS_EL1; nGCSPUSHM_EL1, nGCSSTR_EL1 and nGCSEPP.
        controls: &[
            opens(El2::Hcrx, 1 << 22),
            opens(El2::Hfgrtr, 3 << 52),
            opens(El2::Hfgwtr, 3 << 52),
            opens(El2::Hfgitr, 7 << 57),
        ],
        section: "D11",
        reason: "in the bank",
    },
    Group {
        id: Id::MemoryCopy,
        registers: &[],
        present: |facts| facts.has(ISAR2, 16, 1),
        root: Root::Native,
        guest: Guest::Stateless,
        exits: Exits::No,
        // MSCEn; MCE2 stays 0: EL1 takes the exceptions of its own copies.
        controls: &[opens(El2::Hcrx, 1 << 11)],
        section: "C6.2, CPYFP",
        reason: "instructions whose state is in general registers",
    },
    Group {
        id: Id::WideStores,
        registers: &[],
        present: |facts| facts.has(ISAR1, 60, 1),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        controls: &[opens(El2::Hcrx, 3 << 1)], // EnALS, EnASR
        section: "D19.2, HCRX_EL2",
        reason: "for accelerators, which are the root VM's devices",
    },
    Group {
        id: Id::AcceleratorData,
        registers: &[one(3, 0, 13, 0, 5)], // ACCDATA_EL1
        present: |facts| facts.has(ISAR1, 60, 3),
        root: Root::Native,
        guest: Guest::Closed,
        exits: Exits::No,
        // EnAS0; nACCDATA_EL1.
        controls: &[opens(El2::Hcrx, 1), opens(El2::Hfgrtr, 1 << 50), opens(El2::Hfgwtr, 1 << 50)],
        section: "D19.2, HCRX_EL2",
        reason: "as above",
    },
];
