//! Turns firmware's page tables of four levels into tables of five, as newer firmware and Linux have them.
//!
//! CR4.LA57 cannot change in long mode (AMD APM vol. 2, 5.3.5; Intel SDM vol. 3A, 2.5), so the way leads through compatibility
//! mode with paging off: code, stack and tables have to lie below 4 GiB, where the firmware's memory is.

use core::arch::{asm, global_asm};

use uefi::boot::{self, AllocateType, MemoryType};

use crate::cpu;

/// CR4.LA57.
const LA57: u64 = 1 << 12;
/// An entry that refers to a table: present, writable, accessed.
const TABLE: u64 = 0x23;

global_asm!(
    // ECX: the root of the tables. The GDT is the caller's again at the end.
    "plinth_five_levels:",
    "pushfq",
    "cli",
    "sub rsp, 32",
    "sgdt [rsp]",
    "mov r8d, cs",
    "lea rax, [rip + plinth_five_levels_gdt]",
    "lea rdx, [rip + plinth_five_levels_register]",
    "mov [rdx + 2], rax",
    "lgdt [rdx]",
    "lea rsi, [rip + 3f]",
    "lea rax, [rip + 2f]",
    "push 8",
    "push rax",
    "retfq",
    ".code32",
    "2: mov eax, cr0",
    "and eax, 0x7fffffff",
    "mov cr0, eax",
    "mov eax, cr4",
    "or eax, 0x1000",
    "mov cr4, eax",
    "mov cr3, ecx",
    "mov eax, cr0",
    "or eax, 0x80000000",
    "mov cr0, eax",
    "push 16",
    "push esi",
    "retf",
    ".code64",
    "3: lgdt [rsp]",
    "lea rax, [rip + 4f]",
    "push r8",
    "push rax",
    "retfq",
    "4: add rsp, 32",
    "popfq",
    "ret",
    ".pushsection .data.plinth_five_levels, \"aw\"",
    ".balign 8",
    "plinth_five_levels_register: .word 31",
    ".quad 0",
    ".balign 8",
    "plinth_five_levels_gdt: .quad 0, 0x00CF9B000000FFFF, 0x00AF9B000000FFFF, 0x00CF93000000FFFF",
    ".popsection",
);

/// Whether the tables have five levels.
pub fn are_there() -> bool {
    cpu::read_cr4() & LA57 != 0
}

/// Switches to five levels: a new root whose first entry is the old one. Returns whether it did.
///
/// # Safety
/// The processor has LA57, this is ring 0 under firmware's own tables, and program and stack lie below 4 GiB.
pub unsafe fn switch_on() -> bool {
    let below = AllocateType::MaxAddress(0xFFFF_F000);
    let Ok(page) = boot::allocate_pages(below, MemoryType::RUNTIME_SERVICES_DATA, 1) else { return false };
    // SAFETY: The page is ours for ever, and firmware maps memory one to one; the rest is the caller's promise. The code
    // keeps flags, stack and descriptor table, and says which registers it changes.
    unsafe {
        let old: u64;
        asm!("mov {}, cr3", out(reg) old, options(nomem, nostack, preserves_flags));
        core::ptr::write_bytes(page.as_ptr(), 0, boot::PAGE_SIZE);
        page.cast::<u64>().write(old & !0xFFF | TABLE);
        asm!("call plinth_five_levels", inout("rcx") page.as_ptr() as u64 => _, clobber_abi("sysv64"));
    }
    are_there()
}
