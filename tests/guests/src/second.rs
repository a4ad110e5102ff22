//! A second processor that sets off an extension by a CPUID; one that does not return has to be met by the first one, which
//! interrupts others as a busy OS does.

use core::sync::atomic::{AtomicU32, Ordering};

use plinth_test_extensions::LOOP_LEAF;

use crate::apic::Apic;
use crate::cpu;

/// Delivery modes, bits 10:8 of a command (AMD64 APM vol. 2, 16.5).
const INIT: u32 = 5 << 8;
const START: u32 = 6 << 8;
const ASSERT: u32 = 1 << 14;

/// The processor.
const SECOND: u32 = 1;
/// An interrupt, and a processor that is not there to take it.
const VECTOR: u32 = 0xF0;
const NOBODY: u32 = 0xE;

/// Long enough for two turns of the extension, in ticks of the time-stamp counter.
const PATIENCE: u64 = 100_000_000_000;

/// What it runs from a SIPI on, in real mode at the start of a page: CPUID with this leaf, then it counts and sleeps.
const fn code(leaf: u32) -> [u8; 22] {
    let [a, b, c, d] = leaf.to_le_bytes();
    [
        0xFA, // cli
        0x8C, 0xC8, // mov ax, cs
        0x8E, 0xD8, // mov ds, ax
        0x66, 0xB8, a, b, c, d, // mov eax, LEAF
        0x0F, 0xA2, // cpuid
        0xF0, 0x66, 0xFF, 0x06, 0x70, 0x00, // lock inc dword ptr [0x70]
        0xF4, // hlt
        0xEB, 0xFD, // jmp to the hlt
    ]
}
const COUNT: u64 = 0x70;

/// Starts the second processor, which executes CPUID with `leaf`. Returns what it counts once it gets past that.
///
/// # Safety
/// As [`gets_past`].
pub unsafe fn start(apic: Apic, page: u64, leaf: u32) -> &'static AtomicU32 {
    for (at, byte) in code(leaf).iter().enumerate() {
        // SAFETY: The page is ours, says the caller.
        unsafe { ((page + at as u64) as *mut u8).write_volatile(*byte) };
    }
    // SAFETY: The word is aligned, in the same page, and the processor counts there by a locked instruction.
    let count = unsafe { AtomicU32::from_ptr((page + COUNT) as *mut u32) };
    count.store(0, Ordering::SeqCst);
    apic.send_to(SECOND, INIT | ASSERT);
    apic.send_to(SECOND, START | (page >> 12) as u32);
    count
}

/// Whether the second processor gets past its CPUID.
///
/// # Safety
/// The page at `page` lies below 1 MiB, is mapped one to one, and nobody else uses it.
pub unsafe fn gets_past(apic: Apic, page: u64) -> bool {
    // SAFETY: Forwarded to the caller.
    let count = unsafe { start(apic, page, LOOP_LEAF) };
    let begin = cpu::ticks();
    while count.load(Ordering::SeqCst) == 0 && cpu::ticks().wrapping_sub(begin) < PATIENCE {
        apic.send_to(NOBODY, VECTOR);
    }
    count.load(Ordering::SeqCst) != 0
}
