//! What the second processor runs if it starts: it notes whether it finds the hypervisor, and what it finds in the hypervisor's
//! memory.

use core::arch::global_asm;

use plinth_test_guests_bios::flat_data;
use plinth_test_guests_bios::real_mode::{NOTES, RealModePage, TOLD};

/// What the code notes: how often it began, EBX, ECX and EDX of CPUID leaf 4000_0000h, how many words of the reservation are not
/// zero, what the last one holds after a write, and that it has come to its end.
const STARTS: u64 = NOTES;
const SIGNATURE: u64 = NOTES + 4;
const NOT_ZERO: u64 = NOTES + 0x10;
const READ_BACK: u64 = NOTES + 0x14;
const ENDED: u64 = NOTES + 0x18;
/// What it is told: the reservation's first byte, its length in words of 4 bytes, and the address of its last word.
const FIRST: u64 = TOLD;
const COUNT: u64 = TOLD + 4;
const LAST: u64 = TOLD + 8;

global_asm!(
    ".section .rodata.plinth_escape, \"a\"",
    ".globl plinth_escape",
    "plinth_escape:",
    ".code16",
    "cli",
    "lock inc dword ptr cs:[0x800]",
    "mov eax, 0x40000000",
    "cpuid",
    "mov cs:[0x804], ebx",
    "mov cs:[0x808], ecx",
    "mov cs:[0x80C], edx",
    flat_data!(),
    "mov esi, cs:[0x910]",
    "mov ecx, cs:[0x914]",
    "xor edx, edx",
    "2: cmp dword ptr [esi], 0",
    "je 3f",
    "inc edx",
    "3: add esi, 4",
    "dec ecx",
    "jnz 2b",
    "mov cs:[0x810], edx",
    "mov esi, cs:[0x918]",
    "mov dword ptr [esi], 0x4B4E5542",
    "mov eax, [esi]",
    "mov cs:[0x814], eax",
    "mov dword ptr cs:[0x818], 1",
    "4: hlt",
    "jmp 4b",
    ".globl plinth_escape_end",
    "plinth_escape_end:",
    ".code64",
    ".text",
);

unsafe extern "C" {
    static plinth_escape: u8;
    static plinth_escape_end: u8;
}

/// A page with the code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stub(RealModePage);

impl Stub {
    /// Puts the code into the page at this address, for a reservation of which the first byte and the length are given.
    ///
    /// # Safety
    /// The page lies below 1 MiB, is mapped one to one, and nobody else uses it.
    pub(crate) unsafe fn place(page: u64, (start, size): (u64, u64)) -> Self {
        // SAFETY: 1. forwarded to the caller; 2. it is the code above.
        let page =
            unsafe { RealModePage::place(page, [&raw const plinth_escape, &raw const plinth_escape_end]) };
        page.put(FIRST, start as u32);
        page.put(COUNT, (size / 4) as u32);
        page.put(LAST, (start + size - 4) as u32);
        Self(page)
    }

    /// What a startup IPI calls it.
    pub(crate) fn vector(self) -> u32 {
        self.0.vector()
    }

    /// How often it began.
    pub(crate) fn starts(self) -> u32 {
        self.0.get(STARTS)
    }

    /// Whether it comes to its end.
    pub(crate) fn has_ended(self) -> bool {
        self.0.becomes(ENDED, 1)
    }

    /// EBX, ECX and EDX of CPUID leaf 4000_0000h there.
    pub(crate) fn signature(self) -> [u32; 3] {
        [SIGNATURE, SIGNATURE + 4, SIGNATURE + 8].map(|at| self.0.get(at))
    }

    /// How many words of the reservation are not zero there.
    pub(crate) fn words_not_zero(self) -> u32 {
        self.0.get(NOT_ZERO)
    }

    /// What it reads where it has written into the reservation.
    pub(crate) fn read_back(self) -> u32 {
        self.0.get(READ_BACK)
    }
}
