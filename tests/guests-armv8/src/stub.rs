//! A hypervisor stub as Linux leaves one at EL2 (arch/arm64/kernel/hyp-stub.S), and what the guest does there by its calls.

use core::arch::{global_asm, naked_asm};

use crate::machine::{Gic, Machine};
use crate::{mmu, read, system};

/// What the stub answers to a call that it does not know.
pub const UNKNOWN_CALL: u64 = 0x0BAD_CA11;
/// A call that it does not know.
pub const NO_CALL: u64 = 0x99;
/// How many calls Linux's stub knows.
pub const CALLS: u64 = 5;

global_asm!(
    ".pushsection .text.guest_stub, \"ax\"",
    ".balign 2048",
    ".global __guest_stub",
    "__guest_stub:",
    ".rept 8",
    ".balign 128",
    "b .",
    ".endr",
    // From EL1: SET_VECTORS, SOFT_RESTART, RESET_VECTORS.
    ".balign 128",
    "cbz x0, 1f",
    "cmp x0, #1",
    "b.eq 2f",
    "cmp x0, #2",
    "b.eq 3f",
    "ldr x0, =0xbadca11",
    "eret",
    "1: msr vbar_el2, x1",
    "3: mov x0, xzr",
    "eret",
    "2: mov x0, x2",
    "mov x2, x4",
    "mov x4, x1",
    "mov x1, x3",
    "br x4",
    ".rept 7",
    ".balign 128",
    "b .",
    ".endr",
    ".balign 128",
    ".popsection",
);

unsafe extern "C" {
    static __guest_stub: u8;
}

/// Where the stub's vectors are.
pub fn vectors() -> u64 {
    &raw const __guest_stub as u64
}

/// Calls `entry` at EL2 with the MMU off, by the stub's SOFT_RESTART. All but the stack pointer may be lost.
///
/// # Safety
/// What is at `entry` comes back behind the call.
#[unsafe(naked)]
pub unsafe extern "C" fn soft_restart(entry: u64, first: u64, second: u64) -> u64 {
    naked_asm!(
        "stp x29, x30, [sp, #-96]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "mov x3, x2",
        "mov x2, x1",
        "mov x1, x0",
        "mov x0, #1",
        "hvc #0",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp x29, x30, [sp], #96",
        "ret",
    )
}

/// Words of EL2's state.
const WORDS: usize = 24;

/// What EL2's registers hold; 0 for a register that this processor does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct El2([u64; WORDS]);

/// Where [`El2`] has what differs from processor to processor: TPIDR_EL2 by [`mark`], and VMPIDR_EL2.
const OWN: [usize; 2] = [8, 11];

impl El2 {
    /// Without what is each processor's own.
    pub fn common(mut self) -> Self {
        OWN.into_iter().for_each(|index| self.0[index] = 0);
        self
    }

    /// The first word that differs, with both values.
    pub fn difference(&self, other: &Self) -> Option<(usize, u64, u64)> {
        let both = self.0.into_iter().zip(other.0).enumerate();
        both.map(|(index, (own, other))| (index, own, other)).find(|(_, own, other)| own != other)
    }
}

/// The bits by which the code at EL2 is told what the processor has.
const HAS_GIC: u64 = 1 << 0;
const HAS_SVE: u64 = 1 << 1;
const HAS_HCRX: u64 = 1 << 2;
const HAS_FINE_TRAPS: u64 = 1 << 3;
const HAS_SME: u64 = 1 << 4;

fn present(machine: &Machine) -> u64 {
    let field = |register: u64, shift: u32| register >> shift & 0xF != 0;
    let bit = |is: bool, bit: u64| if is { bit } else { 0 };
    bit(matches!(machine.gic, Gic::V3(..)), HAS_GIC)
        | bit(field(read!("id_aa64pfr0_el1"), 32), HAS_SVE)
        | bit(field(read!("id_aa64mmfr1_el1"), 40), HAS_HCRX)
        | bit(field(read!("id_aa64mmfr0_el1"), 56), HAS_FINE_TRAPS)
        | bit(field(read!("id_aa64pfr1_el1"), 24), HAS_SME)
}

/// Gives EL2's registers of this processor values that nobody else gives them.
pub fn mark(machine: &Machine) {
    let (own, present) = (system::affinity(), present(machine));
    // SAFETY: the code comes back, and changes only what is the stub's.
    unsafe { soft_restart(write_marks as *const () as u64, own, present) };
}

/// What EL2's registers of this processor hold, if the stub is there.
pub fn state(machine: &Machine) -> Option<El2> {
    let state = El2([0; WORDS]);
    // It is written past the caches.
    mmu::clean(&state);
    let at = &raw const state as u64;
    // SAFETY: the code comes back, and writes what is there alone.
    let answer = unsafe { soft_restart(read_state as *const () as u64, at, present(machine)) };
    mmu::clean(&state);
    // SAFETY: the compiler has not seen who writes it.
    (answer == 0).then(|| unsafe { (at as *const El2).read_volatile() })
}

/// # Safety
/// For [`soft_restart`] alone: X0 is this processor's affinity, X1 what it has.
#[unsafe(naked)]
unsafe extern "C" fn write_marks() {
    naked_asm!(
        "movz x9, #0xE120, lsl #48",
        "orr x9, x9, x0",
        "msr tpidr_el2, x9",
        // For AArch32 alone.
        "mov x9, #8",
        "msr hstr_el2, x9",
        // Without a stage 2 it is not looked at; nor is EL2's translation.
        "mov x9, #0x7000",
        "msr vttbr_el2, x9",
        "ldr x9, =0x80023559",
        "msr vtcr_el2, x9",
        "ldr x9, =0x4404bbff",
        "msr mair_el2, x9",
        "ldr x9, =0x80800019",
        "msr tcr_el2, x9",
        "mov x9, #0x5000",
        "msr ttbr0_el2, x9",
        "mov x9, #0x1230",
        "mov sp, x9",
        // TPMCR.
        "mrs x9, mdcr_el2",
        "orr x9, x9, #1 << 5",
        "msr mdcr_el2, x9",
        // An event stream's bit, which is off.
        "mrs x9, cnthctl_el2",
        "orr x9, x9, #1 << 4",
        "msr cnthctl_el2, x9",
        // What EL2 opens of SVE and SME to itself, so that their registers can be read.
        "mov x9, #0x33ff",
        "tbz x1, #1, 1f",
        "bic x9, x9, #1 << 8",
        "1: tbz x1, #4, 2f",
        "bic x9, x9, #1 << 12",
        "2: msr cptr_el2, x9",
        "isb",
        "tbz x1, #1, 3f",
        "mov x9, #3",
        "msr S3_4_C1_C2_0, x9",
        "3: tbz x1, #4, 4f",
        "mov x9, #1",
        "msr S3_4_C1_C2_6, x9",
        "4: tbz x1, #2, 5f",
        "mov x9, #1",
        "msr S3_4_C1_C2_2, x9",
        // AFSR0_EL1, DBGBCR: nobody uses them.
        "5: tbz x1, #3, 6f",
        "mov x9, #1",
        "msr S3_4_C1_C1_4, x9",
        "msr S3_4_C3_C1_5, x9",
        "6: mov x0, xzr",
        "eret",
    )
}

/// # Safety
/// For [`soft_restart`] alone: X0 is the address of an [`El2`], X1 what the processor has.
#[unsafe(naked)]
unsafe extern "C" fn read_state() {
    naked_asm!(
        "mrs x9, sctlr_el2",
        "mrs x10, hcr_el2",
        "stp x9, x10, [x0], #16",
        "mrs x9, cptr_el2",
        "mrs x10, mdcr_el2",
        "stp x9, x10, [x0], #16",
        "mrs x9, cnthctl_el2",
        "mrs x10, cntvoff_el2",
        "stp x9, x10, [x0], #16",
        "mrs x9, vttbr_el2",
        "mrs x10, vtcr_el2",
        "stp x9, x10, [x0], #16",
        "mrs x9, tpidr_el2",
        "mrs x10, hstr_el2",
        "stp x9, x10, [x0], #16",
        "mrs x9, vpidr_el2",
        "mrs x10, vmpidr_el2",
        "stp x9, x10, [x0], #16",
        "mrs x9, vbar_el2",
        "mrs x10, mair_el2",
        "stp x9, x10, [x0], #16",
        "mrs x9, tcr_el2",
        "mrs x10, ttbr0_el2",
        "stp x9, x10, [x0], #16",
        "mov x9, sp",
        "str x9, [x0], #8",
        "tbz x1, #0, 1f",
        "mrs x9, S3_4_C12_C9_5",
        "mrs x10, S3_4_C12_C11_0",
        "stp x9, x10, [x0]",
        "1: tbz x1, #1, 2f",
        "mrs x9, S3_4_C1_C2_0",
        "str x9, [x0, #16]",
        "2: tbz x1, #2, 3f",
        "mrs x9, S3_4_C1_C2_2",
        "str x9, [x0, #24]",
        "3: tbz x1, #3, 4f",
        "mrs x9, S3_4_C1_C1_4",
        "mrs x10, S3_4_C3_C1_5",
        "stp x9, x10, [x0, #32]",
        "4: tbz x1, #4, 5f",
        "mrs x9, S3_4_C1_C2_6",
        "str x9, [x0, #48]",
        "5: dsb sy",
        "mov x0, xzr",
        "eret",
    )
}
