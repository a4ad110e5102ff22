//! The way in: the arm64 Image header, down to EL1 where the machine is bare, and the first Rust code.

use core::arch::global_asm;

use plinth_device_tree::{Tree, total_size};

use crate::{console, machine::Machine, mmu, trap};

/// Bytes of a processor's stack.
pub(crate) const STACK_SIZE: usize = 64 * 1024;

#[repr(C, align(4096))]
struct Stack([u8; STACK_SIZE]);

/// The boot processor's stack. Nobody refers to it but the entry.
static mut STACK: Stack = Stack([0; STACK_SIZE]);

unsafe extern "Rust" {
    /// What a guest defines: its first own code, with the machine that it runs on.
    fn guest_main(machine: Machine) -> !;
}

// The arm64 Linux Image header (Linux, Documentation/arm64/booting.rst). X0 is the device tree; MMU and caches are off.
global_asm!(
    ".pushsection .head, \"ax\"",
    ".global _head",
    "_head:",
    "b 1f",
    "nop",
    ".quad 0",
    ".quad 0",
    ".quad 0xA",
    ".quad 0, 0, 0",
    ".ascii \"ARM\\x64\"",
    ".long 0",
    "1:",
    "msr daifset, #15",
    "mov x20, x0",
    "bl __guest_to_el1",
    // Every relocation is a relative one: 24 bytes of offset, kind, addend.
    "adr x21, _head",
    "adrp x1, __plinth_rela_start",
    "add x1, x1, :lo12:__plinth_rela_start",
    "adrp x2, __plinth_rela_end",
    "add x2, x2, :lo12:__plinth_rela_end",
    "2:",
    "cmp x1, x2",
    "b.hs 3f",
    "ldr x3, [x1]",
    "ldr x4, [x1, #16]",
    "add x4, x4, x21",
    "str x4, [x21, x3]",
    "add x1, x1, #24",
    "b 2b",
    "3:",
    "adrp x1, {stack}",
    "add x1, x1, :lo12:{stack}",
    "add x1, x1, #{size}",
    "mov sp, x1",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, x20",
    "b {start}",
    // To EL1 with the stack pointer SP_EL1, the MMU off and FP open. Uses X9 and X10.
    ".global __guest_to_el1",
    "__guest_to_el1:",
    "mrs x9, CurrentEL",
    "cmp x9, #8",
    "b.ne 4f",
    // EL2 of the bare machine: a stub, HCR_EL2.RW alone, counters and timers for EL1, nothing trapped.
    "adrp x9, __guest_stub",
    "add x9, x9, :lo12:__guest_stub",
    "msr vbar_el2, x9",
    "mov x9, #0x80000000",
    "msr hcr_el2, x9",
    "mov x9, #3",
    "msr cnthctl_el2, x9",
    "msr cntvoff_el2, xzr",
    "mov x9, #0x33ff",
    "msr cptr_el2, x9",
    "msr mdcr_el2, xzr",
    "mrs x9, midr_el1",
    "msr vpidr_el2, x9",
    "mrs x9, mpidr_el1",
    "msr vmpidr_el2, x9",
    "mrs x9, id_aa64pfr0_el1",
    "ubfx x9, x9, #24, #4",
    "cbz x9, 5f",
    "mov x9, #15",
    "msr S3_4_C12_C9_5, x9",
    "5:",
    "mov x9, #0x3c5",
    "msr spsr_el2, x9",
    "msr elr_el2, x30",
    "ldr x9, =0x30D00800",
    "msr sctlr_el1, x9",
    "eret",
    "4:",
    "ldr x9, =0x30D00800",
    "msr sctlr_el1, x9",
    "msr spsel, #1",
    "mov x9, #0x300000",
    "msr cpacr_el1, x9",
    "isb",
    "ret",
    ".popsection",
    stack = sym STACK,
    size = const STACK_SIZE,
    start = sym start,
);

/// The first Rust code: `fdt` is the device tree's address.
extern "C" fn start(fdt: u64) -> ! {
    trap::install();
    // SAFETY: FP is open to EL1 from here on; nothing else uses it.
    unsafe { crate::write!("cpacr_el1", 3_u64 << 20) };
    // SAFETY: by the boot protocol X0 is the device tree's address; what is there is checked.
    let tree = unsafe { device_tree(fdt) }.and_then(|bytes| Tree::new(bytes).ok());
    let Some(tree) = tree else {
        // Without a device tree there is no console to say so.
        stop()
    };
    console::set(tree);
    mmu::enable(tree);
    let machine = Machine::new(tree);
    // SAFETY: every guest of this crate defines the function with this signature.
    unsafe { guest_main(machine) }
}

/// # Safety
/// `address` is what the firmware passed as the device tree's; it stays.
unsafe fn device_tree(address: u64) -> Option<&'static [u8]> {
    if address < 0x1000 || !address.is_multiple_of(8) {
        return None;
    }
    // SAFETY: aligned; by the boot protocol there is memory.
    let size = total_size(unsafe { &*(address as *const [u8; 8]) })?;
    // SAFETY: the tree tells its own size.
    Some(unsafe { core::slice::from_raw_parts(address as *const u8, size) })
}

/// Nothing is left to do on this processor.
pub fn stop() -> ! {
    loop {
        // SAFETY: sleeps.
        unsafe { core::arch::asm!("wfe", options(nomem, nostack, preserves_flags)) };
    }
}
