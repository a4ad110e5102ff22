//! The fields, by register, with their names in the Arm ARM (DDI 0487, D19.2).

use super::Field;
use crate::id::facts::{
    AFR0, DFR0, DFR1, DFR2, FPFR0, ISAR0, ISAR1, ISAR2, ISAR3, IdRegister, MMFR0, MMFR1, MMFR2, MMFR3, MMFR4,
    PFR0, PFR1, PFR2, SMFR0, ZFR0,
};
use crate::id::register_table::Id;

const fn field(register: IdRegister, shift: u32, backed: Id) -> Field {
    Field { register, shift, width: 4, backed, nothing: 0, most: u64::MAX }
}

const fn wide(width: u32, field: Field) -> Field {
    Field { width, ..field }
}

const fn most(most: u64, field: Field) -> Field {
    Field { most, ..field }
}

/// A signed field, in which -1 is nothing.
const fn signed(field: Field) -> Field {
    Field { nothing: 0xF, ..field }
}

/// All fields. The groups of [`Id::El2`] say what EL2 and EL3 have.
pub(super) const FIELDS: &[Field] = &[
    field(PFR0, 0, Id::Base),                     // EL0
    field(PFR0, 4, Id::Base),                     // EL1
    field(PFR0, 8, Id::El2),                      // EL2
    field(PFR0, 12, Id::El2),                     // EL3
    field(PFR0, 16, Id::Fp),                      // FP
    field(PFR0, 20, Id::Fp),                      // AdvSIMD
    field(PFR0, 24, Id::Interrupts),              // GIC
    field(PFR0, 28, Id::Errors),                  // RAS
    field(PFR0, 32, Id::Sve),                     // SVE
    field(PFR0, 36, Id::El2),                     // SEL2
    field(PFR0, 40, Id::Partitioning),            // MPAM
    field(PFR0, 44, Id::Activity),                // AMU
    field(PFR0, 48, Id::Pstate),                  // DIT
    field(PFR0, 52, Id::El2),                     // RME
    most(1, field(PFR0, 56, Id::Constants)),      // CSV2: 2 and 3 promise SCXTNUM
    field(PFR0, 60, Id::Constants),               // CSV3
    field(PFR1, 0, Id::Pstate),                   // BT
    field(PFR1, 4, Id::Pstate),                   // SSBS
    field(PFR1, 8, Id::Tags),                     // MTE
    field(PFR1, 12, Id::ErrorInjection),          // RAS_frac
    field(PFR1, 16, Id::Partitioning),            // MPAM_frac
    field(PFR1, 24, Id::Sme),                     // SME
    field(PFR1, 28, Id::El2),                     // RNDR_trap
    field(PFR1, 32, Id::Contexts),                // CSV2_frac
    field(PFR1, 36, Id::NonMaskable),             // NMI
    field(PFR1, 40, Id::Tags),                    // MTE_frac
    field(PFR1, 44, Id::ControlStack),            // GCS
    field(PFR1, 48, Id::TranslationHardening),    // THE
    field(PFR1, 52, Id::Tags),                    // MTEX
    field(PFR1, 56, Id::ExtendedSctlr),           // DF2
    field(PFR1, 60, Id::FaultAddress),            // PFAR
    field(PFR2, 0, Id::Tags),                     // MTEPERM
    field(PFR2, 4, Id::Tags),                     // MTESTOREONLY
    field(PFR2, 8, Id::Tags),                     // MTEFAR
    field(PFR2, 12, Id::GicV5),                   // GCIE
    field(PFR2, 16, Id::El2),                     // UINJ
    field(PFR2, 32, Id::FpMode),                  // FPMR
    field(ZFR0, 0, Id::Sve),                      // SVEver
    field(ZFR0, 4, Id::Sve),                      // AES
    field(ZFR0, 12, Id::Sve),                     // EltPerm
    field(ZFR0, 16, Id::Sve),                     // BitPerm
    field(ZFR0, 20, Id::Sve),                     // BF16
    field(ZFR0, 24, Id::Sve),                     // B16B16
    field(ZFR0, 32, Id::Sve),                     // SHA3
    field(ZFR0, 40, Id::Sve),                     // SM4
    field(ZFR0, 44, Id::Sve),                     // I8MM
    field(ZFR0, 48, Id::Sve),                     // F16MM
    field(ZFR0, 52, Id::Sve),                     // F32MM
    field(ZFR0, 56, Id::Sve),                     // F64MM
    wide(64, field(SMFR0, 0, Id::Sme)),           // SMOP4 to SFEXPA and above, and FA64
    wide(32, field(FPFR0, 0, Id::FpMode)),        // all formats
    most(6, field(DFR0, 0, Id::Constants)),       // DebugVer: never 0
    field(DFR0, 4, Id::TraceUnit),                // TraceVer
    field(DFR0, 8, Id::Monitor),                  // PMUVer
    field(DFR0, 12, Id::Debug),                   // BRPs
    field(DFR0, 16, Id::MonitorExtensions),       // PMSS
    field(DFR0, 20, Id::Debug),                   // WRPs
    field(DFR0, 24, Id::MonitorExceptions),       // SEBEP
    field(DFR0, 28, Id::Debug),                   // CTX_CMPs
    field(DFR0, 32, Id::Profiling),               // PMSVer
    signed(field(DFR0, 36, Id::DoubleLock)),      // DoubleLock
    field(DFR0, 40, Id::TraceFilter),             // TraceFilt
    field(DFR0, 44, Id::TraceBuffer),             // TraceBuffer
    field(DFR0, 48, Id::Monitor),                 // MTPMU
    field(DFR0, 52, Id::Branches),                // BRBE
    field(DFR0, 56, Id::TraceBuffer),             // ExtTrcBuff
    field(DFR0, 60, Id::El2),                     // HPMN0
    wide(8, field(DFR1, 0, Id::SystemMonitors)),  // SYSPMUID
    wide(8, field(DFR1, 8, Id::Breakpoints2)),    // BRPs
    wide(8, field(DFR1, 16, Id::Breakpoints2)),   // WRPs
    wide(8, field(DFR1, 24, Id::Breakpoints2)),   // CTX_CMPs
    field(DFR1, 32, Id::SystemMonitors),          // SPMU
    field(DFR1, 36, Id::MonitorExtensions),       // PMICNTR
    field(DFR1, 40, Id::Breakpoints2),            // ABLE
    field(DFR1, 44, Id::Instrumentation),         // ITE
    field(DFR1, 48, Id::MonitorExceptions),       // EBEP
    field(DFR1, 52, Id::Monitor),                 // DPFZS
    wide(8, field(DFR1, 56, Id::Breakpoints2)),   // ABL_CMPs
    field(DFR2, 0, Id::Breakpoints2),             // STEP
    field(DFR2, 4, Id::Breakpoints2),             // BWE
    field(DFR2, 16, Id::MonitorExceptions),       // SPE_EXC
    field(DFR2, 20, Id::MonitorExceptions),       // SPE_nVM
    field(DFR2, 24, Id::MonitorExceptions),       // TRBE_EXC
    wide(32, field(AFR0, 0, Id::Implementation)), // what an implementation defines
    field(ISAR0, 4, Id::Base),                    // AES
    field(ISAR0, 8, Id::Base),                    // SHA1
    field(ISAR0, 12, Id::Base),                   // SHA2
    field(ISAR0, 16, Id::Base),                   // CRC32
    field(ISAR0, 20, Id::Base),                   // Atomic
    field(ISAR0, 24, Id::Transactions),           // TME
    field(ISAR0, 28, Id::Base),                   // RDM
    field(ISAR0, 32, Id::Base),                   // SHA3
    field(ISAR0, 36, Id::Base),                   // SM3
    field(ISAR0, 40, Id::Base),                   // SM4
    field(ISAR0, 44, Id::Base),                   // DP
    field(ISAR0, 48, Id::Base),                   // FHM
    field(ISAR0, 52, Id::Base),                   // TS
    field(ISAR0, 56, Id::Base),                   // TLB
    field(ISAR0, 60, Id::Base),                   // RNDR
    field(ISAR1, 0, Id::Base),                    // DPB
    field(ISAR1, 4, Id::PointerAuthentication),   // APA
    field(ISAR1, 8, Id::PointerAuthentication),   // API
    field(ISAR1, 12, Id::Base),                   // JSCVT
    field(ISAR1, 16, Id::Base),                   // FCMA
    field(ISAR1, 20, Id::Base),                   // LRCPC
    field(ISAR1, 24, Id::PointerAuthentication),  // GPA
    field(ISAR1, 28, Id::PointerAuthentication),  // GPI
    field(ISAR1, 32, Id::Base),                   // FRINTTS
    field(ISAR1, 36, Id::Base),                   // SB
    field(ISAR1, 40, Id::Base),                   // SPECRES
    field(ISAR1, 44, Id::Base),                   // BF16
    field(ISAR1, 48, Id::Base),                   // DGH
    field(ISAR1, 52, Id::Base),                   // I8MM
    field(ISAR1, 56, Id::Base),                   // XS
    field(ISAR1, 60, Id::WideStores),             // LS64
    field(ISAR2, 0, Id::Base),                    // WFxT
    field(ISAR2, 4, Id::Base),                    // RPRES
    field(ISAR2, 8, Id::PointerAuthentication),   // GPA3
    field(ISAR2, 12, Id::PointerAuthentication),  // APA3
    field(ISAR2, 16, Id::MemoryCopy),             // MOPS
    field(ISAR2, 20, Id::Base),                   // BC
    field(ISAR2, 24, Id::PointerAuthentication),  // PAC_frac
    field(ISAR2, 28, Id::Base),                   // CLRBHB
    field(ISAR2, 32, Id::Translation128),         // SYSREG_128
    field(ISAR2, 36, Id::Translation128),         // SYSINSTR_128
    field(ISAR2, 40, Id::Base),                   // PRFMSLC
    field(ISAR2, 44, Id::Base),                   // PCDPHINT
    field(ISAR2, 48, Id::Base),                   // RPRFM
    field(ISAR2, 52, Id::Base),                   // CSSC
    field(ISAR2, 56, Id::Base),                   // LUT
    field(ISAR2, 60, Id::Base),                   // ATS1A
    field(ISAR3, 0, Id::ExtendedSctlr),           // CPA
    field(ISAR3, 4, Id::Base),                    // FAMINMAX
    field(ISAR3, 8, Id::El2),                     // TLBIW
    field(ISAR3, 12, Id::PacMarks),               // PACM
    field(ISAR3, 16, Id::Base),                   // LSFE
    field(ISAR3, 20, Id::Base),                   // OCCMO
    field(ISAR3, 24, Id::Base),                   // LSUI
    field(ISAR3, 28, Id::Base),                   // FPRCVT
    field(MMFR0, 0, Id::Base),                    // PARange
    field(MMFR0, 4, Id::Base),                    // ASIDBits
    field(MMFR0, 8, Id::Base),                    // BigEnd
    field(MMFR0, 12, Id::Base),                   // SNSMem
    field(MMFR0, 16, Id::Base),                   // BigEndEL0
    field(MMFR0, 20, Id::Base),                   // TGran16
    field(MMFR0, 24, Id::Base),                   // TGran64
    field(MMFR0, 28, Id::Base),                   // TGran4
    field(MMFR0, 32, Id::El2),                    // TGran16_2
    field(MMFR0, 36, Id::El2),                    // TGran64_2
    field(MMFR0, 40, Id::El2),                    // TGran4_2
    field(MMFR0, 44, Id::Base),                   // ExS
    field(MMFR0, 48, Id::El2),                    // NVTGE
    field(MMFR0, 56, Id::El2),                    // FGT
    most(1, field(MMFR0, 60, Id::Timers)),        // ECV: 2 is EL2's offset
    most(2, field(MMFR1, 0, Id::Base)),           // HAFDBS: 3 takes TCR2_EL1, 4 is stage 2's
    field(MMFR1, 4, Id::El2),                     // VMIDBits
    field(MMFR1, 8, Id::El2),                     // VH
    field(MMFR1, 12, Id::Base),                   // HPDS
    field(MMFR1, 16, Id::OrderingRegions),        // LO
    field(MMFR1, 20, Id::Pstate),                 // PAN
    field(MMFR1, 24, Id::Constants),              // SpecSEI
    field(MMFR1, 28, Id::El2),                    // XNX
    field(MMFR1, 32, Id::El2),                    // TWED
    field(MMFR1, 36, Id::Base),                   // ETS
    field(MMFR1, 40, Id::El2),                    // HCX
    field(MMFR1, 44, Id::Fp),                     // AFP
    field(MMFR1, 48, Id::Constants),              // nTLBPA
    field(MMFR1, 52, Id::Base),                   // TIDCP1
    field(MMFR1, 56, Id::Base),                   // CMOW
    field(MMFR1, 60, Id::Constants),              // ECBHB
    field(MMFR2, 0, Id::Base),                    // CnP
    field(MMFR2, 4, Id::Pstate),                  // UAO
    field(MMFR2, 8, Id::Base),                    // LSM
    field(MMFR2, 12, Id::Base),                   // IESB
    field(MMFR2, 16, Id::Base),                   // VARange
    field(MMFR2, 20, Id::Constants),              // CCIDX
    field(MMFR2, 24, Id::El2),                    // NV
    field(MMFR2, 28, Id::Base),                   // ST
    field(MMFR2, 32, Id::Base),                   // AT
    field(MMFR2, 36, Id::Constants),              // IDS
    field(MMFR2, 40, Id::El2),                    // FWB
    field(MMFR2, 48, Id::Base),                   // TTL
    field(MMFR2, 52, Id::Base),                   // BBM
    field(MMFR2, 56, Id::El2),                    // EVT
    field(MMFR2, 60, Id::Base),                   // E0PD
    field(MMFR3, 0, Id::ExtendedTcr),             // TCRX
    field(MMFR3, 4, Id::ExtendedSctlr),           // SCTLRX
    field(MMFR3, 8, Id::Permissions),             // S1PIE
    field(MMFR3, 12, Id::El2),                    // S2PIE
    field(MMFR3, 16, Id::Overlays),               // S1POE
    field(MMFR3, 20, Id::Overlays2),              // S2POE
    field(MMFR3, 24, Id::Attributes2),            // AIE
    field(MMFR3, 28, Id::El2),                    // MEC
    field(MMFR3, 32, Id::Translation128),         // D128
    field(MMFR3, 36, Id::Translation128),         // D128_2
    field(MMFR3, 40, Id::ExtendedSctlr),          // SNERR
    field(MMFR3, 44, Id::ExtendedSctlr),          // ANERR
    field(MMFR3, 52, Id::ExtendedSctlr),          // SDERR
    field(MMFR3, 56, Id::ExtendedSctlr),          // ADERR
    field(MMFR3, 60, Id::Constants),              // Spec_FPACC
    field(MMFR4, 0, Id::PersistentStorage),       // PoPS
    field(MMFR4, 4, Id::El2),                     // EIESB
    field(MMFR4, 8, Id::ExtendedTcr),             // ASID2
    field(MMFR4, 12, Id::El2),                    // HACDBS
    field(MMFR4, 16, Id::El2),                    // FGWTE3
    field(MMFR4, 20, Id::El2),                    // NV_frac
    field(MMFR4, 24, Id::El2),                    // E2H0
    field(MMFR4, 28, Id::El2),                    // RMEGDI
    field(MMFR4, 32, Id::El2),                    // EAESR
    field(MMFR4, 36, Id::El2),                    // E3DSE
    field(MMFR4, 40, Id::Later),                  // TLBID
    field(MMFR4, 44, Id::Masks),                  // SRMASK
    field(MMFR4, 48, Id::Later),                  // TPS
    field(MMFR4, 52, Id::Later),                  // TEV
    field(MMFR4, 56, Id::El2),                    // SCRX
    field(MMFR4, 60, Id::Later),                  // MTEFGT
];

/// What guest VMs do not see of an ID register of AArch32: ID_DFR0_EL1 and ID_DFR1_EL1 (counters and debuggers).
pub(super) const fn aarch32_closed(register: IdRegister) -> u64 {
    const ID_DFR0: usize = IdRegister::of(1 << 3 | 2).index();
    const ID_DFR1: usize = IdRegister::of(3 << 3 | 5).index();
    match register.index() {
        ID_DFR0 | ID_DFR1 => u64::MAX,
        _ => 0,
    }
}
