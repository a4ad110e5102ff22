//! The way in and the way out, in assembly: neither may rely on a stack, or on memory that is not yet what it should be.

use core::arch::{global_asm, naked_asm};

use crate::load::Loaded;

// The arm64 Linux Image header (Linux, Documentation/arm64/booting.rst), then the entry: MMU and caches off, X0 the
// device tree. It makes EL2 plain (no E2H), applies the relocations to wherever the file lies, and takes a stack.
global_asm!(
    ".pushsection .head, \"ax\"",
    ".global _head",
    "_head:",
    "b 1f",
    "nop",
    ".quad 0",
    // The size of all that has to be in memory: filled in when the file is put together.
    ".quad 0",
    // Little endian, 4 KiB pages, anywhere in memory.
    ".quad 0xA",
    ".quad 0, 0, 0",
    ".ascii \"ARM\\x64\"",
    ".long 0",
    "1:",
    "msr daifset, #15",
    "mov x20, x0",
    "adr x21, _head",
    "mrs x22, CurrentEL",
    "lsr x22, x22, #2",
    "cmp x22, #2",
    "b.ne 2f",
    "adr x1, {vectors}",
    "msr vbar_el2, x1",
    // HCR_EL2.RW alone; SCTLR_EL2 its RES1 bits: MMU and caches off.
    "mov x1, #0x80000000",
    "msr hcr_el2, x1",
    "isb",
    "ldr x1, =0x30C50830",
    "msr sctlr_el2, x1",
    "isb",
    "2:",
    // Every relocation is a relative one: 24 bytes of offset, kind, addend.
    "adrp x1, __plinth_rela_start",
    "add x1, x1, :lo12:__plinth_rela_start",
    "adrp x2, __plinth_rela_end",
    "add x2, x2, :lo12:__plinth_rela_end",
    "3:",
    "cmp x1, x2",
    "b.hs 4f",
    "ldr x3, [x1]",
    "ldr x4, [x1, #16]",
    "add x4, x4, x21",
    "str x4, [x21, x3]",
    "add x1, x1, #24",
    "b 3b",
    "4:",
    "adrp x1, {stack}",
    "add x1, x1, :lo12:{stack}",
    "add x1, x1, #{size}",
    "msr spsel, #1",
    "mov sp, x1",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, x20",
    "mov x1, x21",
    "mov x2, x22",
    "b {start}",
    ".popsection",
    stack = sym STACK,
    size = const STACK_SIZE,
    start = sym crate::start,
    vectors = sym vectors,
);

/// Every exception ends here: on the loader's own stack again, whatever became of it.
#[unsafe(naked)]
#[unsafe(link_section = ".vectors")]
unsafe extern "C" fn vectors() -> ! {
    naked_asm!(
        ".rept 16",
        ".balign 128",
        "msr spsel, #1",
        "adrp x3, {stack}",
        "add x3, x3, :lo12:{stack}",
        "add sp, x3, #{size}",
        "mrs x0, esr_el2",
        "mrs x1, far_el2",
        "mrs x2, elr_el2",
        "b {fault}",
        ".endr",
        stack = sym STACK,
        size = const STACK_SIZE,
        fault = sym crate::fault,
    )
}

const STACK_SIZE: usize = 64 * 1024;

/// The loader's stack. Nobody refers to it but the entry.
#[repr(C, align(4096))]
struct Stack([u8; STACK_SIZE]);

static mut STACK: Stack = Stack([0; STACK_SIZE]);

unsafe extern "C" {
    /// Where the loader ends and the archive starts.
    static __plinth_end: u8;
}

/// Where the archive starts.
pub(crate) fn archive_start() -> u64 {
    (&raw const __plinth_end) as u64
}

/// The device tree at `address`, if one is there.
///
/// # Safety
/// `address` is what the firmware passed as the device tree's; it stays.
pub(crate) unsafe fn device_tree(address: u64) -> Option<&'static [u8]> {
    if address < 0x1000 || !address.is_multiple_of(8) {
        return None;
    }
    // SAFETY: aligned; by the boot protocol there is memory.
    let header = unsafe { &*(address as *const [u8; 8]) };
    let size = plinth_device_tree::total_size(header)?;
    // SAFETY: the tree tells its own size.
    Some(unsafe { core::slice::from_raw_parts(address as *const u8, size) })
}

/// Calls the kernel's entry; where that comes back as the root VM, at EL1, starts the payload. Returns only a status.
///
/// # Safety
/// The kernel is loaded, the contract is filled in, and all of it is clean to the point of coherency.
pub(crate) unsafe fn launch(loaded: &Loaded) -> u64 {
    // SAFETY: forwarded to the caller.
    unsafe { call(loaded.entry, loaded.info, loaded.fdt, loaded.payload) }
}

/// The call comes back at EL1 with the loader's translation, which is then turned off: everything that the payload
/// needs is clean to the point of coherency, and the stack is not used any more.
///
/// # Safety
/// As [`launch`].
#[unsafe(naked)]
unsafe extern "C" fn call(entry: u64, info: u64, fdt: u64, payload: u64) -> u64 {
    naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "stp x19, x20, [sp, #16]",
        "mov x19, x2",
        "mov x20, x3",
        "mov x9, x0",
        "mov x0, x1",
        "mov x1, #0",
        "blr x9",
        "cbnz x0, 1f",
        // Caches and MMU off, as the payload expects it: M, C, I.
        "mov x1, #0x1005",
        "mrs x2, sctlr_el1",
        "bic x2, x2, x1",
        "msr sctlr_el1, x2",
        "isb",
        "tlbi vmalle1",
        "ic iallu",
        "dsb sy",
        "isb",
        "mov x0, x19",
        "mov x1, xzr",
        "mov x2, xzr",
        "mov x3, xzr",
        "br x20",
        "1:",
        "ldp x19, x20, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "ret",
    )
}
