//! What a processor runs from a startup IPI on, in real mode at the start of a page: it counts its start, takes NMIs, and sleeps.

use core::sync::atomic::{AtomicU32, Ordering};

use super::commands::{ASSERT, INIT, START};
use crate::apic::Apic;
use crate::cpu;

/// Long enough for a processor to start, in ticks of the time-stamp counter.
const SOON: u64 = 200_000_000;

const CODE: &[u8] = &[
    0xFA, // cli
    0x8C, 0xC8, // mov ax, cs
    0x8E, 0xD8, // mov ds, ax
    0x8E, 0xD0, // mov ss, ax
    0xBC, 0x00, 0x10, // mov sp, 0x1000
    0x66, 0x0F, 0x01, 0x1E, 0x60, 0x00, // lidt [0x60]
    0xF0, 0x66, 0xFF, 0x06, 0x70, 0x00, // lock inc dword ptr [0x70]
    0xF4, // hlt
    0xEB, 0xFD, // jmp to the hlt
];
const TABLE_POINTER: u64 = 0x60;
const STARTS: u64 = 0x70;
const HANDLER: u64 = 0x80;
/// lock inc dword ptr cs:[0x74]; iret
const HANDLER_CODE: &[u8] = &[0xF0, 0x2E, 0x66, 0xFF, 0x06, 0x74, 0x00, 0xCF];
const TABLE: u64 = 0x400;

/// A page with the code.
#[derive(Clone, Copy, Debug)]
pub struct Stub {
    page: u64,
}

impl Stub {
    /// Puts the code, the interrupt table and the handler into a page; NMIs before the table is loaded find the handler by the
    /// table at address 0.
    ///
    /// # Safety
    /// `page` is the caller's own for ever and below 1 MiB, and nobody needs vector 2 of the table at address 0.
    pub unsafe fn place(page: u64) -> Self {
        let gate = (page >> 4 << 16) as u32 | HANDLER as u32;
        // SAFETY: All of it lies in the page, or is that vector.
        unsafe {
            core::ptr::write_bytes(page as *mut u8, 0, 4096);
            for (at, byte) in CODE.iter().enumerate() {
                ((page + at as u64) as *mut u8).write_volatile(*byte);
            }
            for (at, byte) in HANDLER_CODE.iter().enumerate() {
                ((page + HANDLER + at as u64) as *mut u8).write_volatile(*byte);
            }
            for vector in 0..256 {
                ((page + TABLE + vector * 4) as *mut u32).write_volatile(gate);
            }
            ((page + TABLE_POINTER) as *mut u16).write_volatile(0x3FF);
            ((page + TABLE_POINTER + 2) as *mut u32).write_unaligned((page + TABLE) as u32);
            (8 as *mut u32).write_volatile(gate);
        }
        Self { page }
    }

    /// What a startup IPI calls it.
    pub(super) fn vector(self) -> u32 {
        (self.page >> 12) as u32
    }

    /// Whether a processor starts: INIT, startup IPI, and its count goes up.
    pub(super) fn starts(self, apic: Apic, processor: u32) -> bool {
        // SAFETY: The word is aligned and stays, and the processors count there by locked instructions.
        let count = unsafe { AtomicU32::from_ptr((self.page + STARTS) as *mut u32) };
        let before = count.load(Ordering::SeqCst);
        apic.send_to(processor, INIT | ASSERT);
        apic.send_to(processor, START | self.vector());
        let begin = cpu::ticks();
        while count.load(Ordering::SeqCst) == before && cpu::ticks().wrapping_sub(begin) < SOON {
            apic.send_to(processor, START | self.vector());
        }
        count.load(Ordering::SeqCst) != before
    }
}
