//! Counts the instructions of an exit, guest instruction to guest instruction.
//!
//! It needs an emulator whose time-stamp counter advances by a fixed number of ticks for each instruction (Bochs; QEMU with
//! `-icount shift=N,sleep=off`; with N = 0 a tick is an instruction). How many ticks is measured first. Each figure is that of
//! a loop around the instruction, net of the same loop around a NOP, for one round.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_test_extensions::{
    BENCH_ANSWER, DECLARED_LEAF, EXTENSION_LEAF, EXTENSION_PORT, MEASURE_REFUSED_CALL, MEASURE_REGISTER_READ,
    MEASURED_CALLS, TEST_HYPERCALL,
};
use plinth_test_guests::{Report, cpu, plinth, say, trap};
use uefi::prelude::*;

/// Rounds of each loop.
const ROUNDS: u64 = 10_000;

/// A loop around one instruction, with its inputs in EAX and in ECX and EDX; the result is the ticks of all rounds.
macro_rules! rounds {
    ($instruction:literal, $eax:expr, $ecx:expr) => {{
        let start = cpu::ticks();
        // SAFETY: The instruction changes no registers but those named or put back here, and no memory.
        unsafe {
            asm!(
                "mov {rbx}, rbx",
                "2:",
                "mov eax, {eax:e}",
                "mov ecx, {ecx:e}",
                "mov edx, {ecx:e}",
                $instruction,
                "dec {rounds}",
                "jnz 2b",
                "mov rbx, {rbx}",
                rbx = out(reg) _,
                rounds = inout(reg) ROUNDS => _,
                eax = in(reg) $eax,
                ecx = in(reg) $ecx,
                out("rax") _,
                out("rcx") _,
                out("rdx") _,
                options(nostack)
            )
        }
        cpu::ticks() - start
    }};
}

/// Prints one figure, a loop around an instruction less the loop around a NOP, and is its value.
macro_rules! figure {
    ($name:literal, $ticks:expr, $instruction:literal, $eax:expr, $ecx:expr) => {{
        let (eax, ecx): (u32, u32) = ($eax, $ecx);
        let (gross, idle) =
            cpu::without_interrupts(|| (rounds!($instruction, eax, ecx), rounds!("nop", eax, ecx)));
        let per_round = ROUNDS * $ticks;
        let instructions = (gross.saturating_sub(idle) + per_round / 2) / per_round;
        say!("BENCH {} {instructions}", $name);
        instructions
    }};
}

#[entry]
fn main() -> Status {
    trap::install();
    let mut report = Report::new("bench");
    let ticks = ticks_per_instruction();
    say!("ticks of the time-stamp counter for each instruction: {ticks:?}");
    match ticks {
        _ if !plinth::is_there() => report.skip("measured", "without Plinth there are no exits"),
        Some(ticks) => {
            measure(ticks);
            report.check("measured", true);
        }
        None => {
            say!("the time-stamp counter does not count instructions; run the emulator with -icount");
            report.check("measured", false);
        }
    }
    report.done()
}

/// What one NOP costs, if that is the same every time.
fn ticks_per_instruction() -> Option<u64> {
    let measure = || {
        let (two, one) =
            cpu::without_interrupts(|| (rounds!("nop\nnop", 0u32, 0u32), rounds!("nop", 0u32, 0u32)));
        two.saturating_sub(one)
    };
    // The first run also fills the emulator's own caches.
    let [_, first, second] = [(); 3].map(|()| measure());
    let ticks = (first + ROUNDS / 2) / ROUNDS;
    // The two loops may differ by a few instructions around them.
    let exact = first.abs_diff(ticks * ROUNDS) < ROUNDS;
    say!("{ROUNDS} NOPs take {first} and {second} ticks");
    (ticks != 0 && exact && first == second).then_some(ticks)
}

fn measure(ticks: u64) {
    let cpuid = figure!("cpuid-extension", ticks, "cpuid", EXTENSION_LEAF, 0);
    // Three prefixes: what a processor without next-RIP saving has to decode.
    figure!("cpuid-extension-prefixed", ticks, ".byte 0x66, 0x3e, 0x48, 0x0f, 0xa2", EXTENSION_LEAF, 0);
    figure!("cpuid-native-leaf", ticks, "cpuid", 0, 0);
    if cpu::cpuid(DECLARED_LEAF, 0)[0] == BENCH_ANSWER {
        measure_bench_extension(ticks, cpuid);
    } else {
        say!("no declared CPUID leaf: the extension is not \"bench\"");
    }
    // The kernel answers EFER by its table. On Intel EFER does not exit.
    if cpu::is_amd() {
        figure!("rdmsr-by-kernel", ticks, "rdmsr", 0, cpu::EFER);
    }
}

/// What only the extension `bench` has: the declared leaf, the port, the system calls that it measures.
fn measure_bench_extension(ticks: u64, cpuid: u64) {
    figure!("cpuid-declared", ticks, "cpuid", DECLARED_LEAF, 0);
    figure!("cpuid-declared-prefixed", ticks, ".byte 0x66, 0x3e, 0x48, 0x0f, 0xa2", DECLARED_LEAF, 0);
    // The processor tells where the instruction behind an I/O instruction is, so nothing is fetched and decoded.
    let port = figure!("port-extension", ticks, "out dx, al", 0, u32::from(EXTENSION_PORT));
    say!("BENCH decode-share {}", cpuid.saturating_sub(port));
    measure_call("syscall-refused", MEASURE_REFUSED_CALL, ticks);
    measure_call("syscall-register-read", MEASURE_REGISTER_READ, ticks);
}

/// Has the extension measure a system call, and prints the figure.
fn measure_call(name: &str, call: u64, ticks: u64) {
    // The first run fills the emulator's own caches.
    let _ = plinth::hypercall(TEST_HYPERCALL, call);
    match cpu::without_interrupts(|| plinth::hypercall(TEST_HYPERCALL, call)) {
        Ok(gross) => say!("BENCH {name} {}", (gross + MEASURED_CALLS * ticks / 2) / (MEASURED_CALLS * ticks)),
        Err(fault) => say!("{name}: the extension does not measure it: {fault:?}"),
    }
}
