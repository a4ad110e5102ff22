//! Counts the instructions of an exit, guest instruction to guest instruction.
//!
//! It needs an emulator whose counter advances by one for each instruction (QEMU: `-icount shift=0,sleep=off` and
//! `cntfrq=1000000000`). Each figure is that of a loop around the instruction, net of the same loop around a NOP, for one
//! round.

#![no_std]
#![no_main]

use core::arch::asm;
use core::panic::PanicInfo;

use plinth_test_extensions::{
    BENCH_ANSWER, MEASURE_NOTHING, MEASURE_REFUSED_CALL, MEASURE_REGISTER_READ, MEASURED_CALLS,
    TEST_HYPERCALL,
};
use plinth_test_guests_armv8::calls::{self, CPU_ON, PSCI_FEATURES};
use plinth_test_guests_armv8::{Machine, Report, check, entry, read, say, system};

/// Rounds of each loop.
const ROUNDS: u64 = 10_000;

/// The ticks of a loop around one instruction, with values in X0 and X1.
macro_rules! rounds {
    ($instruction:literal, $x0:expr, $x1:expr) => {{
        let start = system::ticks();
        // SAFETY: the instruction changes no registers but X0 and X1, and no memory.
        unsafe {
            asm!(
                "2:",
                "mov x0, {first}",
                "mov x1, {second}",
                $instruction,
                "subs {rounds}, {rounds}, #1",
                "b.ne 2b",
                first = in(reg) $x0,
                second = in(reg) $x1,
                rounds = inout(reg) ROUNDS => _,
                out("x0") _,
                out("x1") _,
                options(nostack)
            );
        }
        system::ticks() - start
    }};
}

/// Prints one figure.
macro_rules! figure {
    ($name:literal, $instruction:literal, $x0:expr, $x1:expr) => {{
        let (first, second): (u64, u64) = ($x0, $x1);
        let (gross, idle) = (rounds!($instruction, first, second), rounds!("nop", first, second));
        say!("BENCH {} {}", $name, (gross.saturating_sub(idle) + ROUNDS / 2) / ROUNDS);
    }};
}

#[unsafe(no_mangle)]
extern "Rust" fn guest_main(machine: Machine) -> ! {
    let mut report = Report::new("bench", &machine);
    let counts = counts_instructions();
    check!(report, "counter-counts-instructions", counts);
    if machine.reservation().is_none() {
        report.skip("measured", "without Plinth there are no exits");
    } else if counts {
        measure();
        report.check("measured", true);
    }
    report.done(&machine)
}

/// Whether one NOP more in a loop takes one tick more in each round, every time.
fn counts_instructions() -> bool {
    let measure = || rounds!("nop\nnop", 0_u64, 0_u64) - rounds!("nop", 0_u64, 0_u64);
    // The first run also fills the emulator's own caches.
    let [_, first, second] = [(); 3].map(|()| measure());
    say!("{ROUNDS} NOPs take {first} and {second} ticks");
    first == second && first.abs_diff(ROUNDS) < 10
}

fn measure() {
    figure!("hvc-extension", "hvc #0", TEST_HYPERCALL, MEASURE_NOTHING);
    figure!("hvc-kernel", "hvc #0", PSCI_FEATURES, CPU_ON);
    if read!("id_aa64isar0_el1") == u64::from(BENCH_ANSWER) {
        figure!("id-register-extension", "mrs x0, id_aa64pfr0_el1", 0, 0);
        figure!("id-register-native", "mrs x0, id_aa64mmfr0_el1", 0, 0);
        figure!("id-register-declared", "mrs x0, id_aa64isar0_el1", 0, 0);
        call("syscall-refused", MEASURE_REFUSED_CALL);
        call("syscall-register-read", MEASURE_REGISTER_READ);
    } else {
        say!("no declared ID register: the extension is not \"bench\"");
    }
}

/// Has the extension make many system calls, and prints what one costs.
fn call(name: &str, kind: u64) {
    let calls = |kind| {
        let start = system::ticks();
        calls::hvc([TEST_HYPERCALL, kind, 0, 0]);
        system::ticks() - start
    };
    // The first run fills the emulator's own caches.
    calls(kind);
    let gross = calls(kind).saturating_sub(calls(MEASURE_NOTHING));
    say!("BENCH {name} {}", (gross + MEASURED_CALLS / 2) / MEASURED_CALLS);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST bench panicked FAILED: {info}");
    entry::stop()
}
