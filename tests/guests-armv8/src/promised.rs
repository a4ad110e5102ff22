//! Every ID field that says that something is there: the instruction or register that it promises works at EL1.

#![no_std]
#![no_main]

use core::cell::UnsafeCell;
use core::panic::PanicInfo;

use plinth_test_guests_armv8::scratch::{self, mrs, system};
use plinth_test_guests_armv8::{Machine, Report, check, entry, read, say, write};

/// An ID register, by CRm and Op2.
type Id = (u32, u32);

const PFR0: Id = (4, 0);
const PFR1: Id = (4, 1);
const PFR2: Id = (4, 2);
const DFR0: Id = (5, 0);
const DFR1: Id = (5, 1);
const ISAR0: Id = (6, 0);
const ISAR1: Id = (6, 1);
const ISAR2: Id = (6, 2);
const MMFR0: Id = (7, 0);
const MMFR1: Id = (7, 1);
const MMFR2: Id = (7, 2);
const MMFR3: Id = (7, 3);
const MMFR4: Id = (7, 4);

/// MIDR_EL1.Implementer of a processor that QEMU made up.
const QEMU: u64 = 0;

/// ID_AA64PFR0_EL1.CSV2.
const SCXTNUM: &str = "SCXTNUM";

/// A name, the field, the least value of it that promises these instructions. X0 and X1 are addresses of memory, X2 its size,
/// X3 is 0.
struct Promise(&'static str, Id, u32, u64, &'static [u32]);

/// SMSTART ZA, and SMSTOP ZA.
const ZA_ON: u32 = 0xD503_457F;
const ZA_OFF: u32 = 0xD503_447F;

const PROMISES: &[Promise] = &[
    Promise("GIC", PFR0, 24, 1, &[mrs(3, 0, 12, 12, 5), mrs(3, 0, 4, 6, 0)]),
    // ERRIDR_EL1, DISR_EL1. Without an error record ERRSELR_EL1 need not be there.
    Promise("RAS", PFR0, 28, 1, &[mrs(3, 0, 5, 3, 0), mrs(3, 0, 12, 1, 1)]),
    // ZCR_EL1; RDVL.
    Promise("SVE", PFR0, 32, 1, &[mrs(3, 0, 1, 2, 0), 0x04BF_5023]),
    Promise("MPAM", PFR0, 40, 1, &[mrs(3, 0, 10, 4, 4), mrs(3, 0, 10, 5, 0), mrs(3, 0, 10, 5, 1)]),
    Promise("AMU", PFR0, 44, 1, &[mrs(3, 3, 13, 2, 0)]),
    Promise("DIT", PFR0, 48, 1, &[mrs(3, 3, 4, 2, 5)]),
    Promise(SCXTNUM, PFR0, 56, 2, &[mrs(3, 0, 13, 0, 7), mrs(3, 3, 13, 0, 7)]),
    Promise("SSBS", PFR1, 4, 2, &[mrs(3, 3, 4, 2, 6)]),
    Promise(
        "MTE",
        PFR1,
        8,
        2,
        &[mrs(3, 0, 1, 0, 5), mrs(3, 0, 1, 0, 6), mrs(3, 0, 5, 6, 0), mrs(3, 0, 5, 6, 1), mrs(3, 1, 0, 0, 4)],
    ),
    // SMCR_EL1, SMPRI_EL1, SVCR, TPIDR2_EL0.
    Promise(
        "SME",
        PFR1,
        24,
        1,
        &[mrs(3, 0, 1, 2, 6), mrs(3, 0, 1, 2, 4), mrs(3, 3, 4, 2, 2), mrs(3, 3, 13, 0, 5), ZA_ON, ZA_OFF],
    ),
    // ZERO { ZT0 }.
    Promise("SME2", PFR1, 24, 2, &[ZA_ON, 0xC048_0001, ZA_OFF]),
    Promise("NMI", PFR1, 36, 1, &[mrs(3, 0, 4, 3, 0)]),
    Promise(
        "GCS",
        PFR1,
        44,
        1,
        &[mrs(3, 0, 2, 5, 0), mrs(3, 0, 2, 5, 1), mrs(3, 0, 2, 5, 2), mrs(3, 3, 2, 5, 1)],
    ),
    Promise("THE", PFR1, 48, 1, &[mrs(3, 0, 13, 0, 6)]),
    Promise("PFAR", PFR1, 60, 1, &[mrs(3, 0, 6, 0, 5)]),
    Promise("FPMR", PFR2, 32, 1, &[mrs(3, 3, 4, 4, 2)]),
    Promise("TraceVer", DFR0, 4, 1, &[mrs(2, 1, 0, 8, 7)]),
    Promise("PMU", DFR0, 8, 1, &[mrs(3, 3, 9, 12, 0), mrs(3, 0, 9, 14, 1)]),
    Promise("SPE", DFR0, 32, 1, &[mrs(3, 0, 9, 9, 0), mrs(3, 0, 9, 10, 0)]),
    Promise("TraceFilt", DFR0, 40, 1, &[mrs(3, 0, 1, 2, 1)]),
    Promise("TraceBuffer", DFR0, 44, 1, &[mrs(3, 0, 9, 11, 0)]),
    Promise("BRBE", DFR0, 52, 1, &[mrs(2, 1, 9, 0, 0), mrs(2, 1, 9, 2, 0)]),
    Promise("SPMU", DFR1, 32, 1, &[mrs(2, 3, 9, 12, 5)]),
    Promise("PMICNTR", DFR1, 36, 1, &[mrs(3, 3, 9, 4, 0)]),
    Promise("ITE", DFR1, 44, 1, &[mrs(3, 0, 1, 2, 3)]),
    // AESE; CRC32B.
    Promise("AES", ISAR0, 4, 1, &[0x4E28_4800]),
    Promise("CRC32", ISAR0, 16, 1, &[0x1AC3_4063]),
    // LDADD; CFINV; AXFLAG.
    Promise("Atomic", ISAR0, 20, 2, &[0xF823_0003]),
    Promise("TS", ISAR0, 52, 1, &[0xD500_401F]),
    Promise("TS-2", ISAR0, 52, 2, &[0xD500_405F]),
    // TLBI VMALLE1OS, RVAE1.
    Promise("TLB", ISAR0, 56, 1, &[system(1, 0, 8, 1, 0)]),
    Promise("TLB-2", ISAR0, 56, 2, &[system(1, 0, 8, 6, 1)]),
    Promise("RNDR", ISAR0, 60, 1, &[mrs(3, 3, 2, 4, 0), mrs(3, 3, 2, 4, 1)]),
    // DC CVAP, CVADP.
    Promise("DPB", ISAR1, 0, 1, &[system(1, 3, 7, 12, 1) & !0x1F]),
    Promise("DPB-2", ISAR1, 0, 2, &[system(1, 3, 7, 13, 1) & !0x1F]),
    Promise("APA", ISAR1, 4, 1, KEYS),
    Promise("API", ISAR1, 8, 1, KEYS),
    Promise("GPA", ISAR1, 24, 1, GENERIC_KEY),
    Promise("GPI", ISAR1, 28, 1, GENERIC_KEY),
    // LDAPR; SB; CFP RCTX; TLBI VMALLE1NXS.
    Promise("LRCPC", ISAR1, 20, 1, &[0xF8BF_C003]),
    Promise("SB", ISAR1, 36, 1, &[0xD503_30FF]),
    Promise("SPECRES", ISAR1, 40, 1, &[system(1, 3, 7, 3, 4)]),
    Promise("XS", ISAR1, 56, 1, &[system(1, 0, 9, 7, 0)]),
    Promise("ACCDATA", ISAR1, 60, 3, &[mrs(3, 0, 13, 0, 5)]),
    // WFET, for no time.
    Promise("WFxT", ISAR2, 0, 2, &[0xD503_1003]),
    Promise("GPA3", ISAR2, 8, 1, GENERIC_KEY),
    Promise("APA3", ISAR2, 12, 1, KEYS),
    // CPYFP, CPYFM, CPYFE [X0]!, [X1]!, X2!.
    Promise("MOPS", ISAR2, 16, 1, &[0x1901_0440, 0x1941_0440, 0x1981_0440]),
    // ABS.
    Promise("CSSC", ISAR2, 52, 1, &[0xDAC0_2063]),
    Promise("ECV", MMFR0, 60, 1, &[mrs(3, 3, 14, 0, 5), mrs(3, 3, 14, 0, 6)]),
    Promise("LO", MMFR1, 16, 1, &[mrs(3, 0, 10, 4, 3), mrs(3, 0, 10, 4, 7)]),
    Promise("PAN", MMFR1, 20, 1, &[mrs(3, 0, 4, 2, 3)]),
    Promise("UAO", MMFR2, 4, 1, &[mrs(3, 0, 4, 2, 4)]),
    Promise("CCIDX", MMFR2, 20, 1, &[mrs(3, 1, 0, 0, 2)]),
    Promise("TCRX", MMFR3, 0, 1, &[mrs(3, 0, 2, 0, 3)]),
    Promise("SCTLRX", MMFR3, 4, 1, &[mrs(3, 0, 1, 0, 3)]),
    Promise("S1PIE", MMFR3, 8, 1, &[mrs(3, 0, 10, 2, 2), mrs(3, 0, 10, 2, 3)]),
    Promise("S1POE", MMFR3, 16, 1, &[mrs(3, 0, 10, 2, 4), mrs(3, 3, 10, 2, 4)]),
    Promise("AIE", MMFR3, 24, 1, &[mrs(3, 0, 10, 2, 1)]),
    Promise("SRMASK", MMFR4, 44, 1, &[mrs(3, 0, 1, 4, 0)]),
];

const KEYS: &[u32] = &[mrs(3, 0, 2, 1, 0), mrs(3, 0, 2, 1, 3), mrs(3, 0, 2, 2, 0), mrs(3, 0, 2, 2, 3)];
const GENERIC_KEY: &[u32] = &[mrs(3, 0, 2, 3, 0), mrs(3, 0, 2, 3, 1)];

#[repr(C, align(64))]
struct Memory(UnsafeCell<[u64; 16]>);

// SAFETY: one processor uses it.
unsafe impl Sync for Memory {}

static MEMORY: [Memory; 2] = [const { Memory(UnsafeCell::new([0; 16])) }; 2];

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("promised", &machine);
    // SAFETY: opens FP, SVE and SME to EL1, where there is no code that depends on it.
    unsafe { write!("cpacr_el1", 3_u64 << 16 | 3 << 20 | 3 << 24) };
    let mut kept = 0;
    for Promise(name, id, shift, least, instructions) in PROMISES {
        // A monitor of an implementation's own says so by the highest value.
        let field = scratch::read_id(*id) >> shift & 0xF;
        if field < *least || *name == "PMU" && field == 0xF {
            continue;
        }
        let [to, from] = MEMORY.each_ref().map(|memory| memory.0.get() as u64);
        // SAFETY: reads of registers, and instructions that change nothing but that memory.
        let found = unsafe { scratch::run(instructions.iter().copied(), [to, from, 64, 0]) };
        if *name == SCXTNUM && found != [0; 2] && read!("midr_el1") >> 24 & 0xFF == QEMU {
            report.skip(name, "QEMU has SCTLR_EL2.TSCXT, which is about EL0, trap EL1 in the EL2&0 regime");
            continue;
        }
        check!(report, name, (found, field), ([0; 2], field));
        kept += u64::from(found == [0; 2]);
    }
    // SAFETY: as the guest had it.
    unsafe { write!("cpacr_el1", 3_u64 << 20) };
    say!("promised: {kept} fields, PFR0 {:#x}", read!("id_aa64pfr0_el1"));
    check!(report, "there-are-promises", kept > 2);
    report.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST promised panicked FAILED: {info}");
    entry::stop()
}
