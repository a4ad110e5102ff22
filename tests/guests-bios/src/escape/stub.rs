//! What the second processor runs if it starts: real-mode code in a page of its own, which notes whether it finds the hypervisor,
//! and what it finds in the hypervisor's memory.

use core::arch::global_asm;

/// Bytes of a page.
const PAGE_SIZE: u64 = 4096;

/// What the code notes, by offset in the page: how often it began, EBX, ECX and EDX of CPUID leaf 4000_0000h, how many words
/// of the reservation are not zero, what the last one holds after a write, and that it has come to its end.
const STARTS: u64 = 0x800;
const SIGNATURE: u64 = 0x804;
const NOT_ZERO: u64 = 0x810;
const READ_BACK: u64 = 0x814;
const ENDED: u64 = 0x818;
/// What it is told: the pointer to a descriptor table, and the table itself; the reservation's first byte, its length in words
/// of 4 bytes, and the address of its last word.
const TABLE_POINTER: u64 = 0x900;
const FIRST: u64 = 0x910;
const COUNT: u64 = 0x914;
const LAST: u64 = 0x918;
const TABLE: u64 = 0x920;

/// A data segment of 4 GiB from address 0 on, at its place in the table.
const FLAT_DATA: u64 = 0x00CF_9200_0000_FFFF;
const FLAT_DATA_AT: u64 = 8;

/// Looks at the page, or for an end. Only a failure uses them up.
const LOOKS: u64 = 2_000_000_000;
/// As many looks are time enough for a processor to start.
const A_WHILE: u64 = 2_000_000;

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
    // Real mode with a segment of 4 GiB.
    "lgdt cs:[0x900]",
    "mov eax, cr0",
    "or al, 1",
    "mov cr0, eax",
    "mov bx, 8",
    "mov ds, bx",
    "and al, 0xFE",
    "mov cr0, eax",
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
pub(crate) struct Stub {
    page: u64,
}

impl Stub {
    /// Puts the code into the page at this address, for a reservation of which the first byte and the length are given.
    ///
    /// # Safety
    /// The page lies below 1 MiB, is mapped one to one, and nobody else uses it.
    pub(crate) unsafe fn place(page: u64, (start, size): (u64, u64)) -> Self {
        let (from, to) = (&raw const plinth_escape, &raw const plinth_escape_end);
        // SAFETY: the page is ours, says the caller, and the code is shorter.
        unsafe {
            core::ptr::write_bytes(page as *mut u8, 0, PAGE_SIZE as usize);
            core::ptr::copy_nonoverlapping(from, page as *mut u8, to as usize - from as usize);
        }
        let stub = Self { page };
        let limit_and_base = FLAT_DATA_AT + 7 | (page + TABLE) << 16;
        stub.put(TABLE_POINTER, limit_and_base as u32);
        stub.put(TABLE_POINTER + 4, (limit_and_base >> 32) as u32);
        stub.put(TABLE + FLAT_DATA_AT, FLAT_DATA as u32);
        stub.put(TABLE + FLAT_DATA_AT + 4, (FLAT_DATA >> 32) as u32);
        stub.put(FIRST, start as u32);
        stub.put(COUNT, (size / 4) as u32);
        stub.put(LAST, (start + size - 4) as u32);
        stub
    }

    fn put(self, offset: u64, value: u32) {
        // SAFETY: the page stays this stub's to the end; the offset is one of the constants above.
        unsafe { ((self.page + offset) as *mut u32).write_volatile(value) }
    }

    fn get(self, offset: u64) -> u32 {
        // SAFETY: as in `put`.
        unsafe { ((self.page + offset) as *const u32).read_volatile() }
    }

    /// What a startup IPI calls it.
    pub(crate) fn vector(self) -> u32 {
        (self.page / PAGE_SIZE) as u32
    }

    /// How often it began.
    pub(crate) fn starts(self) -> u32 {
        self.get(STARTS)
    }

    /// Whether it comes to its end.
    pub(crate) fn has_ended(self) -> bool {
        (0..LOOKS).any(|_| self.get(ENDED) != 0)
    }

    /// EBX, ECX and EDX of CPUID leaf 4000_0000h there.
    pub(crate) fn signature(self) -> [u32; 3] {
        [SIGNATURE, SIGNATURE + 4, SIGNATURE + 8].map(|at| self.get(at))
    }

    /// How many words of the reservation are not zero there.
    pub(crate) fn words_not_zero(self) -> u32 {
        self.get(NOT_ZERO)
    }

    /// What it reads where it has written into the reservation.
    pub(crate) fn read_back(self) -> u32 {
        self.get(READ_BACK)
    }
}

/// Gives a processor the chance to start.
pub(crate) fn a_while() {
    (0..A_WHILE).for_each(|look| {
        core::hint::black_box(look);
    });
}
