//! Counts the instructions of an exit, guest instruction to guest instruction.
//!
//! It needs an emulator whose counter advances by one for each instruction (QEMU: `-icount shift=0,sleep=off` and
//! `cntfrq=1000000000`). Each figure is that of a loop around the instruction, net of the same loop around a NOP, for one
//! round.

#![no_std]
#![no_main]

use core::arch::asm;
use core::panic::PanicInfo;

use plinth_extension_api::abi::{HYPERCALL_COUNT, HYPERCALL_REPORT};
use plinth_test_guests_armv8::{Machine, Report, calls, check, entry, say, system};

/// Rounds of each loop.
const ROUNDS: u64 = 10_000;

/// The ticks of a loop around one instruction, with a value in X0.
macro_rules! rounds {
    ($instruction:literal, $x0:expr) => {{
        let start = system::ticks();
        // SAFETY: the instruction changes no registers but X0, and no memory.
        unsafe {
            asm!(
                "2:",
                "mov x0, {value}",
                $instruction,
                "subs {rounds}, {rounds}, #1",
                "b.ne 2b",
                value = in(reg) $x0,
                rounds = inout(reg) ROUNDS => _,
                out("x0") _,
                options(nostack)
            );
        }
        system::ticks() - start
    }};
}

/// Prints one figure.
macro_rules! figure {
    ($name:literal, $instruction:literal, $x0:expr) => {{
        let value: u64 = $x0;
        let (gross, idle) = (rounds!($instruction, value), rounds!("nop", value));
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
    let measure = || rounds!("nop\nnop", 0_u64) - rounds!("nop", 0_u64);
    // The first run also fills the emulator's own caches.
    let [_, first, second] = [(); 3].map(|()| measure());
    say!("{ROUNDS} NOPs take {first} and {second} ticks");
    first == second && first.abs_diff(ROUNDS) < 10
}

fn measure() {
    figure!("hvc-extension", "hvc #0", calls::NOT_SUPPORTED);
    figure!("psci-version-kernel", "hvc #0", calls::PSCI_FEATURES);
    figure!("hvc-count-extension", "hvc #0", HYPERCALL_COUNT);
    figure!("id-register-untrapped", "mrs x0, id_aa64mmfr0_el1", 0);
    let _ = HYPERCALL_REPORT;
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("TEST bench panicked FAILED: {info}");
    entry::stop()
}
