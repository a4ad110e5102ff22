//! What the second processor runs: a piece of real-mode code in a page of its own, which notes how the processor came there
//! and then counts.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};

use super::waiting;

/// Bytes of a page.
const PAGE_SIZE: u64 = 4096;
/// Where the record begins in the page; the assembly counts from here.
const RECORD: u64 = 0x800;

global_asm!(
    ".section .rodata.plinth_second_processor, \"a\"",
    ".globl plinth_second_processor",
    "plinth_second_processor:",
    ".code16",
    // As it came, without a change of the flags.
    "mov cs:[0x810], eax",
    "mov cs:[0x814], ecx",
    "mov cs:[0x818], edx",
    "mov cs:[0x81C], ebx",
    "mov cs:[0x820], esp",
    "mov cs:[0x824], ebp",
    "mov cs:[0x828], esi",
    "mov cs:[0x82C], edi",
    "mov eax, cr0",
    "mov cs:[0x830], eax",
    "mov eax, cr3",
    "mov cs:[0x834], eax",
    "mov eax, cr4",
    "mov cs:[0x838], eax",
    "mov eax, dr6",
    "mov cs:[0x83C], eax",
    "mov eax, dr7",
    "mov cs:[0x840], eax",
    "mov eax, 0",
    "mov ax, cs",
    "mov cs:[0x848], eax",
    "mov ax, ds",
    "mov cs:[0x84C], ax",
    "mov ax, es",
    "mov cs:[0x84E], ax",
    "mov ax, ss",
    "mov cs:[0x850], ax",
    "mov ax, fs",
    "mov cs:[0x852], ax",
    "mov ax, gs",
    "mov cs:[0x854], ax",
    // A stack at the page's end.
    "mov ax, cs",
    "mov ss, ax",
    "mov sp, 0x1000",
    "pushfd",
    "pop eax",
    "mov cs:[0x844], eax",
    "call 2f",
    "2: pop ax",
    // SUB AX of the distance from the beginning, spelled out: what is left is the IP of the first instruction.
    ".byte 0x2D",
    ".word 2b - plinth_second_processor",
    "mov cs:[0x856], ax",
    "sidt cs:[0x858]",
    "sgdt cs:[0x860]",
    "mov ecx, 0xC0000080",
    "rdmsr",
    "mov cs:[0x868], eax",
    "mov eax, 1",
    "cpuid",
    "mov cs:[0x86C], eax",
    "mov cs:[0x870], ebx",
    "mov cs:[0x874], ecx",
    "mov eax, 0x80000001",
    "cpuid",
    "mov cs:[0x878], ecx",
    "mov eax, 0x40000000",
    "cpuid",
    "mov cs:[0x87C], ebx",
    "mov cs:[0x880], ecx",
    "mov cs:[0x884], edx",
    "lock inc dword ptr cs:[0x800]",
    "3: lock inc dword ptr cs:[0x804]",
    "cmp dword ptr cs:[0x80C], 0",
    "je 3b",
    "mov dword ptr cs:[0x888], 1",
    "cmp dword ptr cs:[0x80C], 2",
    "je 5f",
    // It is to sleep, with interrupts off.
    "4: cli",
    "hlt",
    "jmp 4b",
    // It is to write the interrupt controller's base again and again, with something in FS.
    "5: mov ax, cs",
    "mov fs, ax",
    "mov ecx, 0x1B",
    "6: rdmsr",
    "wrmsr",
    "jmp 6b",
    // The handler of NMIs.
    ".org plinth_second_processor + 0x200",
    "lock inc dword ptr cs:[0x808]",
    "iret",
    ".globl plinth_second_processor_end",
    "plinth_second_processor_end:",
    ".code64",
    ".text",
);

/// The handler of NMIs in the page.
const NMI_HANDLER: u32 = 0x200;
/// The gate of vector 2 in real mode's interrupt table.
const NMI_GATE: u64 = 2 * 4;

unsafe extern "C" {
    static plinth_second_processor: u8;
    static plinth_second_processor_end: u8;
}

/// What it is to do once it has noted all: count, for ever.
pub(crate) const COUNT: u32 = 0;
/// Sleep.
pub(crate) const SLEEP: u32 = 1;
/// What exits from a virtual machine, and nothing else.
pub(crate) const EXIT: u32 = 2;

/// What the code notes, at [`RECORD`] of its page.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Record {
    /// How often it began.
    pub(crate) starts: AtomicU32,
    /// Its steps since.
    pub(crate) count: AtomicU32,
    /// NMIs that it took.
    pub(crate) nmis: AtomicU32,
    /// Written by the first processor: one of [`COUNT`], [`SLEEP`] and [`EXIT`].
    pub(crate) task: AtomicU32,
    /// EAX, ECX, EDX, EBX, ESP, EBP, ESI and EDI at the beginning.
    pub(crate) general: [AtomicU32; 8],
    /// CR0, CR3 and CR4.
    pub(crate) control: [AtomicU32; 3],
    /// DR6 and DR7.
    pub(crate) debug: [AtomicU32; 2],
    /// EFLAGS.
    pub(crate) flags: AtomicU32,
    /// CS.
    pub(crate) code_segment: AtomicU32,
    /// DS and ES; SS and FS; GS, and above it the IP of the first instruction.
    pub(crate) segments: [AtomicU32; 3],
    /// Limit and base of the interrupt table, six bytes.
    pub(crate) interrupt_table: [AtomicU32; 2],
    /// The same of the descriptor table.
    pub(crate) descriptor_table: [AtomicU32; 2],
    /// EFER.
    pub(crate) efer: AtomicU32,
    /// EAX, EBX and ECX of CPUID leaf 1.
    pub(crate) identity: [AtomicU32; 3],
    /// ECX of leaf 8000_0001h.
    pub(crate) extended: AtomicU32,
    /// EBX, ECX and EDX of leaf 4000_0000h.
    pub(crate) signature: [AtomicU32; 3],
    /// It has turned to a task that is not to count.
    pub(crate) turned: AtomicU32,
}

const _: () = assert!(size_of::<Record>() == 0x8C);

/// A page with the code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stub {
    page: u64,
}

impl Stub {
    /// Puts the code into the page at this address.
    ///
    /// # Safety
    /// The page lies below 1 MiB, is mapped one to one, and nobody else uses it.
    pub(crate) unsafe fn place(page: u64) -> Self {
        let (start, end) = (&raw const plinth_second_processor, &raw const plinth_second_processor_end);
        // SAFETY: the page is ours, says the caller, and the code is shorter.
        unsafe {
            core::ptr::write_bytes(page as *mut u8, 0, PAGE_SIZE as usize);
            core::ptr::copy_nonoverlapping(start, page as *mut u8, end as usize - start as usize);
        }
        Self { page }
    }

    /// What a startup IPI calls it.
    pub(crate) fn vector(self) -> u32 {
        (self.page / PAGE_SIZE) as u32
    }

    /// What it has noted.
    pub(crate) fn record(self) -> &'static Record {
        // SAFETY: the page stays this stub's to the end; both processors use the record by its atomics.
        unsafe { &*((self.page + RECORD) as *const Record) }
    }

    /// How often it began.
    pub(crate) fn starts(self) -> u32 {
        self.record().starts.load(Ordering::SeqCst)
    }

    /// How far it has counted.
    pub(crate) fn count(self) -> u32 {
        self.record().count.load(Ordering::SeqCst)
    }

    /// Gives it something else to do, and waits until it does that. Returns whether it does.
    pub(crate) fn turns_to(self, task: u32) -> bool {
        let record = self.record();
        record.turned.store(0, Ordering::SeqCst);
        record.task.store(task, Ordering::SeqCst);
        waiting::until(|| record.turned.load(Ordering::SeqCst) != 0)
    }

    /// What it does at its next start is count.
    pub(crate) fn counts_again(self) {
        self.record().task.store(COUNT, Ordering::SeqCst);
    }

    /// Makes its handler that of the NMIs in real mode.
    pub(crate) fn take_nmis(self) {
        let gate = (self.page as u32 / 16) << 16 | NMI_HANDLER;
        // SAFETY: the interrupt table of real mode is at address 0 and nobody's any more: no BIOS runs from here on.
        unsafe { (NMI_GATE as *mut u32).write_volatile(gate) }
    }
}
