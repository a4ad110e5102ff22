//! AArch64: instructions that EL0 must not have (Arm ARM, C5 and D1), each in its encoding, so that no assembler
//! minds.

use core::arch::asm;

use super::Instruction;

/// What there is besides privilege.
pub(super) fn protection() -> &'static str {
    "privilege alone"
}

/// Reads eight bytes.
///
/// # Safety
/// It faults, or the test has failed.
pub(super) unsafe fn read(address: u64) {
    // SAFETY: As the caller says.
    unsafe { asm!("ldr {}, [{}]", out(reg) _, in(reg) address, options(nostack, readonly)) }
}

/// Writes eight bytes.
///
/// # Safety
/// It faults, or the test has failed.
pub(super) unsafe fn write(address: u64) {
    // SAFETY: As the caller says.
    unsafe { asm!("str {}, [{}]", in(reg) 0x0BAD_0BADu64, in(reg) address, options(nostack)) }
}

/// Runs what is there.
///
/// # Safety
/// It faults, or the test has failed.
pub(super) unsafe fn execute(address: u64) {
    // SAFETY: As the caller says.
    unsafe { asm!("blr {}", in(reg) address, clobber_abi("C")) }
}

macro_rules! instructions {
    ($($must:ident $name:literal: $($text:literal),+;)*) => {
        &[$(Instruction {
            name: $name,
            may_pass: instructions!($must).0,
            traced: instructions!($must).1,
            run: || {
                // SAFETY: It faults, or leaves all that is not named here as it was.
                unsafe {
                    asm!("mov x9, sp", $($text,)+ "mov sp, x9", out("x9") _,
                        inout("x0") 0u64 => _, inout("x1") 0u64 => _, inout("x8") 0u64 => _)
                }
            },
        },)*]
    };
    (faults) => { (|| false, false) };
    (harmless) => { (|| true, false) };
}

/// Where an instruction has an operand, it is X0 and 0.
pub(super) const INSTRUCTIONS: &[Instruction] = instructions! {
    faults "hvc": ".inst 0xd4000002";
    faults "smc": ".inst 0xd4000003";
    faults "eret": ".inst 0xd69f03e0";
    faults "brk": "brk #0";
    faults "hlt": "hlt #0";
    faults "undefined": ".inst 0";
    faults "msr daifset": "msr daifset, #15";
    faults "msr spsel": "msr spsel, #1";
    faults "mrs currentel": "mrs x0, currentel";
    faults "mrs sctlr_el1": "mrs x0, sctlr_el1";
    faults "msr sctlr_el1": "msr sctlr_el1, x0";
    faults "msr ttbr0_el1": "msr ttbr0_el1, x0";
    faults "msr vbar_el1": "msr vbar_el1, x0";
    faults "mrs hcr_el2": "mrs x0, hcr_el2";
    faults "msr hcr_el2": "msr hcr_el2, x0";
    faults "msr vbar_el2": "msr vbar_el2, x0";
    faults "msr vttbr_el2": "msr vttbr_el2, x0";
    faults "msr sctlr_el2": "msr sctlr_el2, x0";
    faults "msr cnthctl_el2": "msr cnthctl_el2, x0";
    faults "msr scr_el3": ".inst 0xd51e1100";
    faults "tlbi vmalle1": "tlbi vmalle1";
    faults "tlbi alle2": "tlbi alle2";
    faults "at s1e1r": "at s1e1r, x0";
    faults "at s12e1r": "at s12e1r, x0";
    faults "ic ialluis": "ic ialluis";
    faults "dc isw": "dc isw, x0";
    faults "dc ivac": "dc ivac, x0";
    faults "fp": ".inst 0x9e670000";
    faults "simd": ".inst 0x4f000400";
    faults "system call on no stack": "mov x0, #-16", "mov sp, x0", "ldr x0, [sp]";
    harmless "svc 1": "svc #1";
    harmless "svc 0xffff": "svc #0xffff";
    harmless "wfi": "wfi";
    harmless "wfe": "wfe";
    harmless "mrs cntpct_el0": "mrs x0, cntpct_el0";
    harmless "mrs ctr_el0": "mrs x0, ctr_el0";
    harmless "mrs pmccntr_el0": ".inst 0xd53b9d00";
    harmless "mrs midr_el1": "mrs x0, midr_el1";
};
