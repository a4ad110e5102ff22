//! The first instructions of a processor that Plinth starts: from real mode straight to 64-bit mode, where no loader's
//! tables are left to go through (AMD APM vol. 2, 14.6 "Enabling and Activating Long Mode"; Intel SDM vol. 3A,
//! "Initializing IA-32e Mode").

use core::arch::global_asm;

use plinth_hal::PAGE_SIZE;

use super::arrivals::ARRIVALS;
use super::arrive;

global_asm!(
    ".section .rodata.plinth_cold_start, \"a\"",
    ".balign 16",
    // In real mode addresses are offsets in the page.
    ".set plinth_cold_gdt_register_offset, plinth_cold_gdt_register - plinth_cold_start",
    ".set plinth_cold_no_table_offset, plinth_cold_no_table - plinth_cold_start",
    ".set plinth_cold_root_offset, plinth_cold_root - plinth_cold_start",
    ".set plinth_cold_cr4_offset, plinth_cold_cr4 - plinth_cold_start",
    ".set plinth_cold_jump_offset, plinth_cold_jump - plinth_cold_start",
    ".globl plinth_cold_start",
    "plinth_cold_start:",
    ".code16",
    // First of all no interrupt table: real mode's is the root VM's. An NMI from here on is a shutdown.
    "lidt cs:[plinth_cold_no_table_offset]",
    "cli",
    "cld",
    "mov ax, cs",
    "mov ds, ax",
    // LGDT with a 32-bit base.
    ".byte 0x66",
    "lgdt [plinth_cold_gdt_register_offset]",
    "mov eax, [plinth_cold_root_offset]",
    "mov cr3, eax",
    // CR4.PAE, and LA57 where the tables have five levels; EFER.LME and NXE, for the kernel's tables have NX; CR0: PG, WP,
    // NE, ET, MP, PE.
    "mov eax, [plinth_cold_cr4_offset]",
    "mov cr4, eax",
    "mov ecx, 0xC0000080",
    "mov eax, 0x900",
    "xor edx, edx",
    "wrmsr",
    "mov eax, 0x80010033",
    "mov cr0, eax",
    // A far jump through memory, to a 32-bit offset.
    "jmp fword ptr [plinth_cold_jump_offset]",
    ".code64",
    "plinth_cold_long:",
    "mov eax, 0x10",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "xor eax, eax",
    "mov fs, eax",
    "mov gs, eax",
    // Its own id, in whichever mode its local APIC is.
    "mov ecx, 0x1B",
    "rdmsr",
    "test eax, 1 << 10",
    "jnz 2f",
    "and eax, 0xFFFFF000",
    "shl rdx, 32",
    "or rax, rdx",
    "mov eax, [rax + 0x20]",
    "shr eax, 24",
    "jmp 3f",
    "2: mov ecx, 0x802",
    "rdmsr",
    // Its place among the arrivals.
    "3: mov rsi, [rip + plinth_cold_arrivals]",
    "mov ecx, [rip + plinth_cold_count]",
    "4: cmp [rsi], eax",
    "je 5f",
    "add rsi, 16",
    "dec ecx",
    "jnz 4b",
    "6: cli",
    // BOUND: none. Nobody has called this processor, and so nobody waits for it.
    "hlt",
    "jmp 6b",
    "5: mov edi, [rsi + 4]",
    "mov rsp, [rsi + 8]",
    "xor ebp, ebp",
    "call [rip + plinth_cold_target]",
    "ud2",
    ".balign 8",
    "plinth_cold_gdt: .quad 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF",
    "plinth_cold_gdt_register: .word 3 * 8 - 1",
    "plinth_cold_gdt_base: .long 0",
    "plinth_cold_no_table: .word 0",
    ".long 0",
    ".balign 8",
    "plinth_cold_jump: .long 0",
    ".word 8",
    ".balign 8",
    "plinth_cold_root: .quad 0",
    "plinth_cold_cr4: .quad 0",
    "plinth_cold_arrivals: .quad 0",
    "plinth_cold_count: .quad 0",
    "plinth_cold_target: .quad 0",
    ".globl plinth_cold_end",
    "plinth_cold_end:",
    ".text",
);

unsafe extern "C" {
    static plinth_cold_start: u8;
    static plinth_cold_long: u8;
    static plinth_cold_gdt: u8;
    static plinth_cold_gdt_base: u8;
    static plinth_cold_jump: u8;
    static plinth_cold_root: u8;
    static plinth_cold_cr4: u8;
    static plinth_cold_arrivals: u8;
    static plinth_cold_count: u8;
    static plinth_cold_target: u8;
    static plinth_cold_end: u8;
}

/// Puts the code into `page`, for processors that are to run on the tables at `root`, with this CR4, and are among the
/// arrivals.
///
/// # Safety
/// 1. `page` is a page below 1 MiB that is identity mapped, writable and nobody's.
/// 2. `root` lies below 4 GiB and has the levels that `cr4` says; its tables map the page for execution, and the kernel's image and memory, at the same
///    addresses.
pub(super) unsafe fn place(page: u64, root: u64, cr4: u64) {
    let (places, count) = ARRIVALS.places();
    let start = &raw const plinth_cold_start as u64;
    let offset = |symbol: *const u8| (symbol as u64).wrapping_sub(start);
    let length = offset(&raw const plinth_cold_end);
    debug_assert!(length <= PAGE_SIZE, "the trampoline fits its page");
    // SAFETY: the code lies between its symbols, and the page is ours, says the caller.
    unsafe { core::ptr::copy_nonoverlapping(start as *const u8, page as *mut u8, length as usize) };
    // SAFETY: all places are inside what has just been copied.
    let put = |symbol: *const u8, value: u64| unsafe {
        (page.wrapping_add(offset(symbol)) as *mut u64).write_unaligned(value);
    };
    // SAFETY: as above; these two are half as wide.
    let put_half = |symbol: *const u8, value: u64| unsafe {
        (page.wrapping_add(offset(symbol)) as *mut u32).write_unaligned(value as u32);
    };
    put_half(&raw const plinth_cold_gdt_base, page.wrapping_add(offset(&raw const plinth_cold_gdt)));
    put_half(&raw const plinth_cold_jump, page.wrapping_add(offset(&raw const plinth_cold_long)));
    put(&raw const plinth_cold_root, root);
    put(&raw const plinth_cold_cr4, cr4);
    put(&raw const plinth_cold_arrivals, places as u64);
    put(&raw const plinth_cold_count, count as u64);
    put(&raw const plinth_cold_target, arrive as *const () as u64);
}

/// Stops this processor until it is started again.
pub(super) fn stop() -> ! {
    loop {
        // BOUND: the root VM's to set, which may start it again. Nobody waits for it.
        // SAFETY: nothing is left to do on this processor; INIT and a startup IPI bring it back.
        unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
