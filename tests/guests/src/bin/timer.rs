//! Sets the timer of the extension `timed`, and does nothing that exits: it looks at a register until that changes. With
//! interrupts disabled a processor must have a timer for that; with interrupts on, one of those will do.

#![no_std]
#![no_main]

use core::arch::asm;

use plinth_test_extensions::TEST_HYPERCALL;
use plinth_test_guests::{Report, apic, check, cpu, driver, plinth, trap};
use uefi::prelude::*;

/// Some ticks, in which several interrupts come.
const AHEAD: u64 = 100_000_000;
/// More looks at the register than are made until then.
const LOOKS: u64 = 4_000_000_000;

/// The last byte of VMMCALL and of VMCALL.
const AMD: u8 = 0xd9;
const INTEL: u8 = 0xc1;

#[entry]
fn main() -> Status {
    trap::install();
    apic::Apic::find();
    let mut report = Report::new("timer");
    if !plinth::is_there() {
        report.skip("timer", "there is no Plinth whose timer could be set");
        report.done()
    }
    let amd = cpu::is_amd();
    cpu::without_interrupts(|| {
        check!(report, "at-once", run(amd, 0, LOOKS) == LOOKS);
        check!(report, "by-an-exit", exits(amd, AHEAD));
        if amd {
            report.skip("interrupts-off", "this processor has no timer for it");
        } else {
            check!(report, "interrupts-off", takes(AHEAD, |ahead| run(amd, ahead, LOOKS)));
        }
    });
    check!(report, "interrupts-on", takes(AHEAD, |ahead| run(amd, ahead, LOOKS)));
    driver::lives(&mut report);
    report.done()
}

/// Whether a run ends, and not before its time.
fn takes(ahead: u64, run: impl Fn(u64) -> u64) -> bool {
    let before = cpu::ticks();
    run(ahead) != 0 && cpu::ticks() - before >= ahead
}

fn run(amd: bool, ahead: u64, looks: u64) -> u64 {
    if amd { spin::<AMD>(ahead, looks) } else { spin::<INTEL>(ahead, looks) }
}

/// Sets the timer and looks at R15 until it is set. Returns how many looks were left; 0 where it never was.
fn spin<const CALL: u8>(ahead: u64, looks: u64) -> u64 {
    let left;
    // SAFETY: The hypercall changes RAX, and R15 later; RBX, which the compiler keeps for itself, is put back.
    unsafe {
        asm!(
            "xchg rbx, {ahead}",
            "xor r15d, r15d",
            ".byte 0x0f, 0x01, {call}",
            "2:",
            "test r15, r15",
            "jnz 3f",
            "dec rcx",
            "jnz 2b",
            "3:",
            "xchg rbx, {ahead}",
            call = const CALL,
            ahead = inout(reg) ahead => _,
            inout("rax") TEST_HYPERCALL => _,
            inout("rcx") looks => left,
            out("r15") _,
        )
    }
    left
}

/// Sets the timer and exits until it has run down: that works wherever there are exits. Returns whether it has.
fn exits(amd: bool, ahead: u64) -> bool {
    let before = cpu::ticks();
    let left = if amd { exit_loop::<AMD>(ahead, AHEAD) } else { exit_loop::<INTEL>(ahead, AHEAD) };
    left != 0 && cpu::ticks() - before >= ahead
}

/// As [`spin`], with a CPUID in each round.
fn exit_loop<const CALL: u8>(ahead: u64, rounds: u64) -> u64 {
    let left;
    // SAFETY: As in `spin`; CPUID changes RAX, RBX, RCX and RDX.
    unsafe {
        asm!(
            "push rbx",
            "mov rbx, {ahead}",
            "xor r15d, r15d",
            ".byte 0x0f, 0x01, {call}",
            "2:",
            "xor eax, eax",
            "cpuid",
            "test r15, r15",
            "jnz 3f",
            "dec {rounds}",
            "jnz 2b",
            "3:",
            "pop rbx",
            call = const CALL,
            ahead = in(reg) ahead,
            rounds = inout(reg) rounds => left,
            inout("rax") TEST_HYPERCALL => _,
            out("rcx") _,
            out("rdx") _,
            out("r15") _,
        )
    }
    left
}
