//! The guest on x86: real-mode code that prints by port, whatever the vendor.

use core::arch::global_asm;

use plinth_extension_api::abi::register::{INSTRUCTION_POINTER, X86_CS};
use plinth_extension_api::{Exit, ExitClass, Failure, Plinth, VsId};

use super::{PAGE, Request};

/// The vector of the interrupt that the guest waits for.
pub(crate) const INTERRUPT: u8 = 0x40;

/// Where the guest prints, and where it ends.
const PRINT: u64 = 0xE9;
const END: u64 = 0xF4;
/// Where its code begins, and its stack.
const ENTRY: u64 = 0x500;
const STACK: u64 = 0x1000;

// It looks whether its FPU and debug registers are those of a new processor, fills them, prints, waits for the interrupt,
// and looks whether they are still filled. What it ends with says what was not: 1 and 2.
global_asm!(
    ".pushsection .rodata.guest_page, \"a\"",
    ".balign 4096",
    ".code16",
    "guest_page:",
    ".org guest_page + 4 * 0x40",
    ".word 0x600, 0",
    ".org guest_page + 0x500",
    "mov eax, cr4",
    "or ax, 0x200",
    "mov cr4, eax",
    "movd eax, xmm0",
    "movd ecx, xmm7",
    "or eax, ecx",
    "mov ecx, dr0",
    "or eax, ecx",
    "setnz bl",
    "pcmpeqd xmm0, xmm0",
    "pcmpeqd xmm7, xmm7",
    "mov eax, -1",
    "mov dr0, eax",
    "fld1",
    "mov si, 0x700",
    "2: lodsb",
    "test al, al",
    "jz 3f",
    "out 0xE9, al",
    "jmp 2b",
    "3: xor di, di",
    "sti",
    "4: hlt",
    "test di, di",
    "jz 4b",
    "movd eax, xmm0",
    "mov ecx, dr0",
    "and eax, ecx",
    "inc eax",
    "jz 5f",
    "or bl, 2",
    "5: mov al, bl",
    "out 0xF4, al",
    // The handler.
    ".org guest_page + 0x600",
    "mov al, 0x21",
    "out 0xE9, al",
    "mov al, 10",
    "out 0xE9, al",
    "inc di",
    "iret",
    ".org guest_page + 0x700",
    ".asciz \"hello from a guest VM\\n\"",
    ".org guest_page + 4096",
    ".code64",
    ".popsection",
);

unsafe extern "C" {
    safe static guest_page: [u8; PAGE as usize];
}

/// What its page begins with.
pub(crate) fn page() -> &'static [u8] {
    &guest_page
}

/// Gives a new VS its first instruction and its stack.
pub(crate) fn start(plinth: Plinth, vs: VsId) -> Result<(), Failure> {
    const CS_BASE: u64 = X86_CS + 1;
    const RSP: u64 = 4;
    for (register, value) in [(X86_CS, 0), (CS_BASE, 0), (INSTRUCTION_POINTER, ENTRY), (RSP, STACK)] {
        plinth.vs_write(vs, register, value)?;
    }
    Ok(())
}

/// What the guest asks for by this exit.
pub(crate) fn request(exit: &Exit<'_>) -> Option<Request> {
    match (exit.class(), exit.number()) {
        (ExitClass::PortWrite, PRINT) => Some(Request::Print(exit.general(0) as u8)),
        (ExitClass::PortWrite, END) => Some(Request::End(exit.general(0) & 0xFF)),
        _ => None,
    }
}
