//! Every encoding of a system register that EL1 may use, read, and written with what was read: what faults, and what is there.
//! The test compares the lines with those of the bare machine.

#![no_std]
#![no_main]

use core::cell::UnsafeCell;
use core::fmt;
use core::panic::PanicInfo;

use plinth_test_guests_armv8::scratch::{self, Register};
use plinth_test_guests_armv8::{Machine, Report, check, entry, say, write};

/// Reading these changes something or finds something else each time; a write of what was read is no write of the same.
fn is_volatile(register: Register) -> bool {
    let Register { op0, op1, crn, crm, op2 } = register;
    match (op0, op1, crn) {
        // ICC_IAR0_EL1, ICC_IAR1_EL1, ICC_NMIAR1_EL1, which acknowledge; ICC_HPPIR.
        (3, 0, 12) => matches!((crm, op2), (8 | 12, 0 | 2) | (9, 5)),
        // Exceptions' own, which the attempts change; PSTATE and stack pointers, which this code runs by.
        (3, _, 4) => true,
        (3, 0, 5) => crm == 2,
        (3, 0, 6 | 7) => true,
        // Random numbers; counters of time, events and activity.
        (3, 3, 2) => crm == 4,
        (3, 3, 9) => crm == 13,
        (3, 3, 13) => crm >= 4,
        (3, 3, 14) => crm != 1,
        // The debugger's channel.
        (2, _, 0) => op1 == 3 || matches!((crm, op2), (0 | 3, 2) | (2, 0)),
        _ => false,
    }
}

/// What this code runs by: where it lies differs from machine to machine.
fn is_place(register: Register) -> bool {
    matches!(register, Register { op0: 3, op1: 0, crn: 2 | 12, crm: 0, op2: 0 | 1 })
}

#[repr(C, align(64))]
struct Result(UnsafeCell<[u64; 2]>);

// SAFETY: one processor uses it.
unsafe impl Sync for Result {}

static RESULT: Result = Result(UnsafeCell::new([0; 2]));

/// What was found of one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Reading it is undefined.
    Undefined,
    /// Reading it raises another exception.
    Faults,
    /// There, with a value that says nothing.
    There,
    /// There, with a value; whether what was read can be written.
    Value(u64, bool),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined => f.write_str(" ."),
            Self::Faults => f.write_str(" fault"),
            Self::There => f.write_str(" there"),
            Self::Value(value, true) => f.write_fmt(format_args!(" {value:x}")),
            Self::Value(value, false) => f.write_fmt(format_args!(" {value:x}!")),
        }
    }
}

fn try_one(register: Register) -> Found {
    let at = RESULT.0.get();
    // MRS X1; STR X1, [X2].
    let code = [register.mrs(1), 0xF900_0041];
    // SAFETY: a read, and a store to memory that is this test's.
    let found = unsafe { scratch::run(code.into_iter(), [0, 0, at as u64, 0]) };
    match found {
        [0, 0] if is_volatile(register) => return Found::There,
        [0, 0] => {}
        [_, 0] => return Found::Faults,
        _ => return Found::Undefined,
    }
    // SAFETY: the code above has written it, and nothing else does.
    let value = unsafe { at.cast::<u64>().read_volatile() };
    let code = [register.msr(1), scratch::ISB];
    // SAFETY: the register gets what it has.
    let written = unsafe { scratch::run(code.into_iter(), [0, value, 0, 0]) };
    if is_place(register) { Found::There } else { Found::Value(value, written == [0; 2]) }
}

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("registers", &machine);
    // SAFETY: opens FP, SVE and SME to EL1, where there is no code that depends on it.
    unsafe { write!("cpacr_el1", 3_u64 << 16 | 3 << 20 | 3 << 24) };
    let mut there = 0;
    for (op0, op1) in [(2, 0), (2, 1), (2, 2), (2, 3), (3, 0), (3, 1), (3, 2), (3, 3)] {
        for (crn, crm) in (0..256).map(|row| (row / 16, row % 16)) {
            let found: [Found; 8] =
                core::array::from_fn(|op2| try_one(Register { op0, op1, crn, crm, op2: op2 as u32 }));
            if found == [Found::Undefined; 8] {
                continue;
            }
            there += found.iter().filter(|found| **found != Found::Undefined).count();
            let [a, b, c, d, e, f, g, h] = found;
            say!("registers: S{op0}_{op1}_C{crn}_C{crm}:{a}{b}{c}{d}{e}{f}{g}{h}");
        }
    }
    say!("registers: {there} there");
    check!(report, "registers", there > 100);
    report.done(&machine)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST registers panicked FAILED: {info}");
    entry::stop()
}
