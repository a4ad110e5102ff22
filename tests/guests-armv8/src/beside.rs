//! What a guest VM beside this one does to this one's registers, under the extension `beside`: those that are each VM's own it neither
//! reads nor changes, and of all others that EL1 can name it changes none.

#![no_std]
#![no_main]

use core::cell::UnsafeCell;
use core::panic::PanicInfo;

use plinth_test_extensions::{ASK, GO_ON, TEST_HYPERCALL};
use plinth_test_guests_armv8::scratch::{self, Register};
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, say, trap, write};

/// What this VM has in a register, and what the other one writes.
const OURS: u64 = 0x1234_5678;
const THEIRS: u64 = 0x666;

const HVC: u32 = 0xD400_0002;
/// Where a synchronous exception of the guest's own goes: skips the instruction, by X9.
const VECTOR: usize = 0x200 / 4;
/// MRS X9, ELR_EL1; ADD X9, X9, #4; MSR ELR_EL1, X9; ERET.
const SKIP: [u32; 4] = [0xD538_4029, 0x9100_1129, 0xD518_4029, 0xD69F_03E0];

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u32; 1024]>);

// SAFETY: one processor uses it.
unsafe impl Sync for Page {}

static PAGE: Page = Page(UnsafeCell::new([0; 1024]));
static VALUES: Page = Page(UnsafeCell::new([0; 1024]));

const fn register(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> Register {
    Register { op0, op1, crn, crm, op2 }
}

/// Names are those of the Arm ARM.
const OWN: &[(&str, Register)] = &[
    ("TPIDR_EL1", register(3, 0, 13, 0, 4)),
    ("APIAKeyLo_EL1", register(3, 0, 2, 1, 0)),
    ("APIAKeyHi_EL1", register(3, 0, 2, 1, 1)),
    ("APIBKeyLo_EL1", register(3, 0, 2, 1, 2)),
    ("APIBKeyHi_EL1", register(3, 0, 2, 1, 3)),
    ("APDAKeyLo_EL1", register(3, 0, 2, 2, 0)),
    ("APDAKeyHi_EL1", register(3, 0, 2, 2, 1)),
    ("APDBKeyLo_EL1", register(3, 0, 2, 2, 2)),
    ("APDBKeyHi_EL1", register(3, 0, 2, 2, 3)),
    ("APGAKeyLo_EL1", register(3, 0, 2, 3, 0)),
    ("APGAKeyHi_EL1", register(3, 0, 2, 3, 1)),
    ("RGSR_EL1", register(3, 0, 1, 0, 5)),
    ("GCR_EL1", register(3, 0, 1, 0, 6)),
    ("TFSR_EL1", register(3, 0, 5, 6, 0)),
    ("TFSRE0_EL1", register(3, 0, 5, 6, 1)),
    ("TPIDR2_EL0", register(3, 3, 13, 0, 5)),
    ("SCXTNUM_EL1", register(3, 0, 13, 0, 7)),
    ("SCXTNUM_EL0", register(3, 3, 13, 0, 7)),
    ("ERRSELR_EL1", register(3, 0, 5, 3, 1)),
    ("LORSA_EL1", register(3, 0, 10, 4, 0)),
    ("PMSELR_EL0", register(3, 3, 9, 12, 5)),
    ("PMUSERENR_EL0", register(3, 3, 9, 14, 0)),
    ("DBGBVR0_EL1", register(2, 0, 0, 0, 4)),
    ("CSSELR_EL1", register(3, 2, 0, 0, 0)),
    ("PAR_EL1", register(3, 0, 7, 4, 0)),
    ("CNTKCTL_EL1", register(3, 0, 14, 1, 0)),
    ("ZCR_EL1", register(3, 0, 1, 2, 0)),
    ("SMCR_EL1", register(3, 0, 1, 2, 6)),
    ("SMPRI_EL1", register(3, 0, 1, 2, 4)),
    ("ICC_PMR_EL1", register(3, 0, 4, 6, 0)),
];

/// Makes the guest of these instructions, and a call.
fn make(instructions: &[u32]) {
    // SAFETY: nobody uses the page: the guest has a copy.
    let page = unsafe { &mut *PAGE.0.get() };
    page.fill(0);
    page[..instructions.len()].copy_from_slice(instructions);
    page[instructions.len()] = HVC;
    page[VECTOR..VECTOR + SKIP.len()].copy_from_slice(&SKIP);
}

/// Runs it to its call. Returns how many of its accesses were trapped, and its X0; `None` if it ended otherwise.
fn run() -> Option<[u64; 2]> {
    calls::hvc([TEST_HYPERCALL, PAGE.0.get() as u64, 0, 0]);
    for _ in 0..1000 {
        if let [1, trapped, first, _] = calls::hvc([TEST_HYPERCALL, ASK, 0, 0]) {
            return Some([trapped, first]);
        }
        calls::hvc([TEST_HYPERCALL, GO_ON, 0, 0]);
    }
    None
}

/// What this VM has in the eight registers of a row; 0 for what it cannot read.
fn values(row: Register) -> [u64; 8] {
    let at = VALUES.0.get() as u64;
    // MOV X1, #0; MRS X1; STR X1, [X2], #8.
    let code = (0..8).flat_map(|op2| [0xD280_0001, Register { op2, ..row }.mrs(1), 0xF800_8441]);
    // SAFETY: reads, and stores to memory that is this test's.
    unsafe { scratch::run(code, [0, 0, at, 0]) };
    // SAFETY: the code above has written them.
    unsafe { (at as *const [u64; 8]).read_volatile() }
}

fn value(register: Register) -> u64 {
    values(register)[register.op2 as usize]
}

/// Sets a register, where it is there.
fn set(register: Register, value: u64) {
    // SAFETY: nothing depends on these registers here: no interrupt comes, no debugger, no code with keys or tags.
    unsafe { scratch::run([register.msr(1), scratch::ISB].into_iter(), [0, value, 0, 0]) };
}

/// What is each VM's own.
fn own(report: &mut Report) {
    for (name, register) in OWN {
        let before = value(*register);
        set(*register, OURS);
        let ours = value(*register);
        // MOV X0, #0; MRS X0; MOV X1, THEIRS; MSR X1; ISB.
        make(&[
            0xD280_0000,
            register.mrs(0),
            0xD280_0001 | (THEIRS as u32) << 5,
            register.msr(1),
            scratch::ISB,
        ]);
        let found = run();
        let kept = value(*register) == ours;
        let seen = found.map(|[_, first]| first);
        set(*register, before);
        // What reads as a constant, or not at all, has nothing to hide.
        let secret = ours != before;
        check!(report, name, (kept, seen.is_some(), secret && seen == Some(ours)), (true, true, false));
    }
}

/// Whether this VM finds the same there each time.
fn is_stable(row: Register) -> bool {
    let Register { op0, op1, crn, crm, .. } = row;
    match (op0, op1, crn) {
        // Exceptions' own, and PSTATE.
        (3, _, 4) | (3, 0, 6 | 7) => false,
        (3, 0, 5) => crm != 2,
        // Interrupts that are acknowledged by a read.
        (3, 0, 12) => !matches!(crm, 8 | 9 | 12),
        // Random numbers; counters.
        (3, 3, 2) => crm != 4,
        (3, 3, 9) => crm != 13,
        (3, 3, 13) => crm < 4,
        (3, 3, 14) => crm == 1,
        (2, 3, 0) => false,
        _ => true,
    }
}

/// What the guest cannot write without losing its way: SCTLR_EL1 and VBAR_EL1, and PSTATE.
fn may_write(register: Register) -> bool {
    !matches!(
        register,
        Register { op0: 3, crn: 4, .. } | Register { op0: 3, op1: 0, crn: 1 | 12, crm: 0, op2: 0 }
    )
}

/// Every register that EL1 can name, written by the guest with two values.
fn storm(report: &mut Report) {
    let (mut rows, mut trapped, mut changed, mut lost) = (0_u64, 0, 0_u64, 0_u64);
    for (op0, op1) in [(2, 0), (2, 1), (2, 2), (2, 3), (3, 0), (3, 1), (3, 2), (3, 3)] {
        for row in (0..256).map(|row| register(op0, op1, row / 16, row % 16, 0)) {
            let before = values(row);
            let mut code = [scratch::ISB; 64];
            for (place, op2) in code.chunks_exact_mut(6).zip(0..8) {
                let each = Register { op2, ..row };
                if may_write(each) {
                    // MRS X0; MOV X1, #0; MSR; MOV X1, THEIRS; MSR.
                    let noise = 0xD280_0001 | (THEIRS as u32) << 5;
                    place.copy_from_slice(&[
                        each.mrs(0),
                        0xD280_0001,
                        each.msr(1),
                        noise,
                        each.msr(1),
                        scratch::ISB,
                    ]);
                }
            }
            make(&code);
            match run() {
                Some([more, _]) => trapped += more,
                None => lost += 1,
            }
            let after = values(row);
            if is_stable(row) && before != after {
                say!(
                    "beside: of S{op0}_{op1}_C{}_C{} there was {before:x?}, and is {after:x?}",
                    row.crn,
                    row.crm
                );
                changed += 1;
            }
            rows += 1;
        }
    }
    say!("beside: {rows} rows, {trapped} accesses of the guest VM's trapped");
    check!(report, "registers-kept", (changed, lost), (0, 0));
    // ID registers are the kernel's to answer, and these are not: debug registers, for one.
    check!(report, "some-are-trapped", trapped > 100);
}

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("beside", &machine);
    if machine.reservation().is_none() {
        report.skip("beside", "there is no Plinth to run a guest VM beside this one");
        report.done(&machine)
    }
    // SAFETY: opens FP, SVE and SME to EL1, where there is no code that depends on it.
    let opened = trap::catch(|| unsafe { write!("cpacr_el1", 3_u64 << 16 | 3 << 20 | 3 << 24) });
    check!(report, "opened", opened, None);
    own(&mut report);
    storm(&mut report);
    report.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST beside panicked FAILED: {info}");
    entry::stop()
}
