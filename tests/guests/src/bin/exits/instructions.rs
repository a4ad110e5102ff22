//! Instructions that a hypervisor can take away: they work where CPUID announces them, and are undefined elsewhere.

use core::arch::asm;

use plinth_test_guests::trap::{self, Fault};
use plinth_test_guests::{Report, check, cpu, probe, say};

pub(super) fn run(report: &mut Report) {
    time_stamps(report);
    announced(report);
    port_strings(report);
    single_steps(report);
}

/// What an instruction of `length` bytes must come to.
const fn expected(has: bool, length: u64) -> Option<Fault> {
    if has { None } else { Some(Fault::undefined(length)) }
}

fn time_stamps(report: &mut Report) {
    const TSC_AUX: u32 = 0xC000_0103;
    let first = cpu::ticks();
    check!(report, "rdtsc", cpu::ticks() > first);
    let has = cpu::cpuid(0x8000_0001, 0)[3] & 1 << 27 != 0;
    if has {
        // SAFETY: Nothing here depends on it.
        let written = unsafe { cpu::write_msr(TSC_AUX, 0x5A) };
        check!(report, "msr-tsc-aux", written, Ok(()));
    }
    let aux: u64;
    // SAFETY: It only reads.
    let fault = unsafe { probe!("rdtscp"; out("rax") _, out("rdx") _, inout("rcx") 0x5Au64 => aux) };
    check!(report, "rdtscp", (fault, aux), (expected(has, 3), 0x5A));
}

/// INVPCID, XSAVES, RDPID, RDRAND, by CPUID's word.
fn announced(report: &mut Report) {
    let leaf_7 = cpu::cpuid(7, 0);
    let invpcid = leaf_7[1] & 1 << 10 != 0;
    let descriptor = [0u64; 2];
    // SAFETY: Type 2 forgets every translation, which is always right.
    let fault = unsafe { probe!("invpcid rax, [rcx]"; in("rax") 2u64, in("rcx") descriptor.as_ptr()) };
    check!(report, "invpcid", fault, expected(invpcid, 5));
    let rdrand = cpu::cpuid(1, 0)[2] & 1 << 30 != 0;
    // SAFETY: It only reads.
    let fault = unsafe { probe!("rdrand eax"; out("rax") _) };
    check!(report, "rdrand", fault, expected(rdrand, 3));
    let rdpid = leaf_7[2] & 1 << 22 != 0;
    // SAFETY: It only reads.
    let fault = unsafe { probe!(".byte 0xf3, 0x0f, 0xc7, 0xf8"; out("rax") _) };
    check!(report, "rdpid", fault, expected(rdpid, 4));
    supervisor_state(report);
}

/// XSAVES, and the register of what it may save.
fn supervisor_state(report: &mut Report) {
    const XSS: u32 = 0xDA0;
    let leaf_1 = cpu::cpuid(1, 0);
    let has = leaf_1[2] & 1 << 26 != 0 && cpu::cpuid(0xd, 1)[0] & 1 << 3 != 0;
    say!("XSAVES is {}", if has { "there" } else { "not there" });
    if !has {
        return report.skip("xsaves", "the processor has none");
    }
    let cr4 = cpu::read_cr4();
    // SAFETY: Nothing in a UEFI application uses XSAVE; CR4 is put back.
    unsafe { cpu::write_cr4(cr4 | cpu::CR4_OSXSAVE) };
    let mut area = Area([0; 1024]);
    // SAFETY: x87 state alone, which takes the area's first 576 bytes.
    let fault = unsafe { probe!("xsaves [rcx]"; in("rcx") &raw mut area, in("rax") 1u64, in("rdx") 0u64) };
    // SAFETY: As it was.
    unsafe { cpu::write_cr4(cr4) };
    check!(report, "xsaves", fault, None);
    let before = cpu::read_msr(XSS);
    // SAFETY: The value that it has.
    let written = unsafe { cpu::write_msr(XSS, before.unwrap_or(0)) };
    check!(report, "msr-xss", before.is_ok() && written.is_ok());
}

#[repr(C, align(64))]
struct Area([u8; 1024]);

/// A string of bytes to a port: as many as it says, and the registers as the processor leaves them.
fn port_strings(report: &mut Report) {
    const NOBODY: u16 = 0x80;
    let bytes = [1u8, 2, 3, 4];
    let start = bytes.as_ptr() as u64;
    let (rsi, rcx): (u64, u64);
    // SAFETY: Nothing depends on what the port gets.
    unsafe {
        asm!("rep outsb", in("dx") NOBODY, inout("rsi") start => rsi, inout("rcx") 4u64 => rcx, options(nostack));
    }
    check!(report, "rep-outsb", (rsi - start, rcx), (4, 0));
    let mut read = [0u8; 4];
    let start = read.as_mut_ptr() as u64;
    let (rdi, rcx): (u64, u64);
    // SAFETY: Four bytes of the local variable.
    unsafe {
        asm!("rep insb", in("dx") NOBODY, inout("rdi") start => rdi, inout("rcx") 4u64 => rcx, options(nostack));
    }
    check!(report, "rep-insb", (rdi - start, rcx), (4, 0));
}

/// A single step over an instruction that exits ends behind it, once; also where a load of SS holds the trap back.
fn single_steps(report: &mut Report) {
    let before = trap::steps().0;
    let (next, rbx): (u64, u64);
    // SAFETY: The handler clears the trap flag again. RBX is put back.
    unsafe {
        asm!("mov {rbx}, rbx", "lea {next}, [rip + 2f]", "xor eax, eax", "pushfq", "or dword ptr [rsp], 0x100", "popfq",
            "cpuid", "2:", "nop", "nop", "mov rbx, {rbx}",
            rbx = out(reg) rbx, next = out(reg) next, out("rax") _, out("rcx") _, out("rdx") _);
    }
    let _ = rbx;
    let (count, at) = trap::steps();
    check!(report, "single-step-over-exit", (count - before, at), (1, next));
    let before = count;
    let (next, rbx): (u64, u64);
    // SAFETY: As above; SS is loaded with what it holds.
    unsafe {
        asm!("mov {rbx}, rbx", "lea {next}, [rip + 2f]", "mov {ss:e}, ss", "xor eax, eax", "pushfq",
            "or dword ptr [rsp], 0x100", "popfq", "mov ss, {ss:e}", "cpuid", "2:", "nop", "nop", "mov rbx, {rbx}",
            rbx = out(reg) rbx, next = out(reg) next, ss = out(reg) _, out("rax") _, out("rcx") _, out("rdx") _);
    }
    let _ = rbx;
    let (count, at) = trap::steps();
    check!(report, "single-step-held-back-by-ss", (count - before, at), (1, next));
}
