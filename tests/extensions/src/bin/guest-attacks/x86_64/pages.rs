//! The guests' memory: each begins at an address of its own in the same four pages.

use core::arch::global_asm;

pub(crate) const PAGE: u64 = 4096;
pub(crate) const PAGES: u64 = 4;

// Page 0: the GDT (64-bit code, data, TSS, 32-bit code and data of privilege level 3, 32-bit code) at 0, the IDTs at 0x100, 0x140
// and 0x170, the TSS at 0x200 with the first stack of the interrupt stack table at 0x800, code from 0x500 on, data from 0xA00 on.
// Pages 1 to 3: page tables that map 2 MiB to themselves, those of PAE at 0x1020; the next 2 MiB are the same once more.
global_asm!(
    ".pushsection .rodata.attack_pages, \"a\"",
    ".balign 4096",
    "attack_pages:",
    ".quad 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00008B0002000067, 0",
    ".quad 0x00CFFB000000FFFF, 0x00CFF3000000FFFF, 0x00CF9B000000FFFF",
    // Vector 1: the handler at 0x600 on that stack.
    ".org attack_pages + 0x110",
    ".word 0x600, 8, 0x8E01, 0",
    ".quad 0",
    // The same, at 0x640.
    ".org attack_pages + 0x150",
    ".word 0x640, 8, 0x8E01, 0",
    ".quad 0",
    // Vector 17: the handler at 0x780, of privilege level 3.
    ".org attack_pages + 0x1F8",
    ".word 0x780, 0x2B, 0x8E00, 0",
    ".org attack_pages + 0x224",
    ".quad 0x800",
    // DEBUG_LOOP: 8 bytes at 0x7F8, which the processor writes first as it delivers an exception.
    ".org attack_pages + 0x500",
    "mov eax, 0x7F8",
    "mov dr0, rax",
    "mov eax, 0x90401",
    "mov dr7, rax",
    "mov [0x7F8], rax",
    "nop",
    "mov al, 2",
    "out 0xF4, al",
    // DEBUG_ONCE: 8 bytes at 0xA00. The store ends at 0x560. In QEMU a breakpoint that is still on would stay on in others.
    ".org attack_pages + 0x540",
    "mov eax, 0xA00",
    "mov dr0, rax",
    "mov eax, 0x90401",
    "mov dr7, rax",
    ".org attack_pages + 0x558, 0x90",
    ".byte 0x48, 0x89, 0x04, 0x25, 0x00, 0x0A, 0x00, 0x00",
    "xor eax, eax",
    "mov dr7, rax",
    "mov al, [0xA08]",
    "out 0xF4, al",
    // CACHES_OFF.
    ".org attack_pages + 0x580",
    "mov rax, cr0",
    "mov ecx, eax",
    "or eax, 0x40000000",
    "mov cr0, rax",
    "mov rdx, cr0",
    "xor ecx, edx",
    "xor ecx, 0x40000000",
    "setnz al",
    "out 0xF4, al",
    // The handler of DEBUG_LOOP.
    ".org attack_pages + 0x600",
    "xor eax, eax",
    "mov dr7, rax",
    "mov al, 1",
    "out 0xF4, al",
    // The handler of DEBUG_ONCE: counts itself, and notes the cause and where it came from.
    ".org attack_pages + 0x640",
    "inc byte ptr [0xA08]",
    "mov rcx, dr6",
    "and ecx, 1",
    "shl ecx, 4",
    "or [0xA08], cl",
    "xor ecx, ecx",
    "cmp qword ptr [rsp], 0x560",
    "sete cl",
    "shl ecx, 5",
    "or [0xA08], cl",
    "iretq",
    // PAE: reads by the second 2 MiB what it has written by the first.
    ".org attack_pages + 0x700",
    ".code32",
    "mov byte ptr [0xA20], 0",
    "inc byte ptr [0xA20]",
    "mov al, byte ptr [0x200A20]",
    "xor al, 1",
    "out 0xF4, al",
    // ALIGNMENT_LOOP: a load that is misaligned, as the stack is.
    ".org attack_pages + 0x740",
    "mov eax, dword ptr [0xA31]",
    "mov al, 2",
    "out 0xF4, al",
    // Its handler.
    ".org attack_pages + 0x780",
    "mov al, 1",
    "out 0xF4, al",
    ".code64",
    ".org attack_pages + 0x1000",
    ".quad 0x2003",
    ".org attack_pages + 0x1020",
    ".quad 0x3001, 0, 0, 0",
    ".org attack_pages + 0x2000",
    ".quad 0x3003",
    ".org attack_pages + 0x3000",
    ".quad 0x83, 0x83",
    ".org attack_pages + 0x4000",
    ".popsection",
);

unsafe extern "C" {
    /// The pages.
    pub(crate) safe static attack_pages: [u8; (PAGE * PAGES) as usize];
}
