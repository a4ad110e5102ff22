//! The guest on Arm: code at EL1, without an MMU, that prints by hypercall.

use core::arch::global_asm;

use plinth_extension_api::abi::register::INSTRUCTION_POINTER;
use plinth_extension_api::{Exit, ExitClass, Failure, Plinth, VsId};

use super::{PAGE, Request};

/// The interrupt that the guest waits for: the IRQ.
pub(crate) const INTERRUPT: u8 = 0;

/// Its hypercalls: below this X0 is a letter to print, below twice this it is what the guest ends with.
const END: u64 = 0x100;
/// It has served its interrupt.
const SERVED: u64 = 0x200;
/// Where its code begins. Its vectors are at 0, where VBAR_EL1 points after a reset.
const ENTRY: u64 = 0x800;

// It looks whether its FP registers are those of a new processor, fills them, prints, waits for the interrupt, and looks
// whether they are still filled. What it ends with says what was not: 1 and 2.
global_asm!(
    ".pushsection .rodata.guest_page, \"a\"",
    ".balign 4096",
    ".arch_extension fp",
    ".arch_extension simd",
    "guest_page:",
    // IRQ, from EL1 on its own stack pointer.
    ".org guest_page + 0x280",
    "mov w0, #0x21",
    "hvc #0",
    "mov w0, #10",
    "hvc #0",
    "mov w0, #0x200",
    "hvc #0",
    "mov w20, #1",
    "eret",
    ".org guest_page + 0x800",
    "mov x0, #3 << 20",
    "msr cpacr_el1, x0",
    "isb",
    "fmov x1, d0",
    "fmov x2, d31",
    "orr x1, x1, x2",
    "cmp x1, #0",
    "cset w19, ne",
    "movi v0.16b, #0xff",
    "movi v31.16b, #0xff",
    "adr x3, 6f",
    "2: ldrb w0, [x3], #1",
    "cbz w0, 3f",
    "hvc #0",
    "b 2b",
    "3: msr daifclr, #2",
    "4: wfi",
    "cbz w20, 4b",
    "fmov x1, d0",
    "fmov x2, d31",
    "and x1, x1, x2",
    "cmn x1, #1",
    "b.eq 5f",
    "orr w19, w19, #2",
    "5: orr w0, w19, #0x100",
    "hvc #0",
    "6: .asciz \"hello from a guest VM\\n\"",
    ".org guest_page + 4096",
    ".popsection",
);

unsafe extern "C" {
    safe static guest_page: [u8; PAGE as usize];
}

/// What its page begins with.
pub(crate) fn page() -> &'static [u8] {
    &guest_page
}

/// Gives a new VS its first instruction.
pub(crate) fn start(plinth: Plinth, vs: VsId) -> Result<(), Failure> {
    plinth.vs_write(vs, INSTRUCTION_POINTER, ENTRY)
}

/// What the guest asks for by this exit.
pub(crate) fn request(exit: &Exit<'_>) -> Option<Request> {
    match (exit.class(), exit.general(0)) {
        (ExitClass::Hypercall, letter @ 0..END) => Some(Request::Print(letter as u8)),
        (ExitClass::Hypercall, status @ END..SERVED) => Some(Request::End(status - END)),
        (ExitClass::Hypercall, SERVED) => Some(Request::Served),
        _ => None,
    }
}
