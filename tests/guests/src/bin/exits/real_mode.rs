//! The processor's other modes: 16-bit code in real mode, protected mode with and without paging, and back.
//!
//! Under Intel's VMX these are the guest's own business ("unrestricted guest") as long as no bit that the kernel owns
//! changes. So the way is gone twice, the second time with CR0.NE changed in the very write that switches paging off or
//! on: then the kernel carries out the mode switch.

use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr::NonNull;

use plinth_test_guests::{Report, check, cpu};
use uefi::boot::{self, AllocateType, MemoryType};

/// Pages: code and variables; stack; the PAE tables.
const PAGES: usize = 4;
const PAGE: usize = 4096;
/// Real mode reaches the first mebibyte.
const REAL_MODE_END: u64 = 0x10_0000;
/// CR0.NE.
const NE: u32 = 1 << 5;
/// The program's own exceptions and interrupts, in the table that real mode uses.
const UNDEFINED: usize = 6;
const SOFTWARE: usize = 0x20;

/// What the program leaves: see the assembly.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Results {
    signature: u32,
    undefined: u32,
    software: u32,
    status: u32,
    apic_base: u32,
    paged: u32,
    string: u32,
}

/// Variables of the program, by their place in its first page, behind the code.
const GDT: usize = 0x800;
const GDTR: usize = 0x840;
const IDTR: usize = 0x850;
const REAL_FAR: usize = 0x860;
const BACK_FAR: usize = 0x868;
const FLIP: usize = 0x870;
const PAE_TABLES: usize = 0x874;
const OLD_RSP: usize = 0x878;
const OLD_CR3: usize = 0x880;
const OLD_SS: usize = 0x888;
const OLD_CS: usize = 0x88C;
const OLD_GDTR: usize = 0x890;
const OLD_IDTR: usize = 0x8A0;
const RESULTS: usize = 0x8C0;
/// What it writes while paging is on.
const MARK: u32 = 0x504C_494E;

unsafe extern "C" {
    static modes_start: u8;
    static modes_end: u8;
    static modes_real: u8;
    static modes_back: u8;
    static modes_undefined: u8;
    static modes_software: u8;
}

/// The offset of a label in the program.
macro_rules! offset {
    ($label:ident) => {
        (&raw const $label as usize - &raw const modes_start as usize)
    };
}

pub(super) fn run(report: &mut Report) {
    let Some(program) = Program::place() else {
        return report.skip("real-mode", "the firmware has no free memory below 1 MiB");
    };
    for flip in [0, NE] {
        let results = cpu::without_interrupts(|| program.run(flip));
        let signature = cpu::cpuid(0x4000_0000, 0)[1];
        let apic_base = cpu::read_msr(0x1b).unwrap_or(0) as u32;
        check!(report, "real-mode-cpuid", results.signature, signature);
        check!(report, "real-mode-undefined", results.undefined, 1);
        check!(report, "real-mode-software-interrupt", results.software, 1);
        check!(report, "real-mode-smsw", results.status & 0x11, 0x10);
        check!(report, "real-mode-rdmsr", results.apic_base, apic_base);
        check!(report, "real-mode-port-string", results.string, 4);
        check!(report, "pae-paging", results.paged, MARK);
    }
}

/// The program in low memory.
struct Program {
    base: NonNull<u8>,
}

impl Program {
    fn place() -> Option<Self> {
        let below = AllocateType::MaxAddress(REAL_MODE_END - 1);
        let base = boot::allocate_pages(below, MemoryType::LOADER_CODE, PAGES).ok()?;
        let program = Self { base };
        let length = offset!(modes_end);
        // SAFETY: The program fits into the first of the pages just allocated.
        unsafe { base.copy_from_nonoverlapping(NonNull::from_ref(&modes_start), length) };
        program.relocate();
        program.paging();
        Some(program)
    }

    fn address(&self) -> u32 {
        self.base.as_ptr() as usize as u32
    }

    fn write<T>(&self, offset: usize, value: T) {
        // SAFETY: Offsets are of the program's variables or of whole words in its pages.
        unsafe { self.base.add(offset).cast::<T>().write_unaligned(value) }
    }

    /// Writes the program's tables and far pointers, which hold its address.
    fn relocate(&self) {
        const CODE_64: u64 = 0x00AF_9B00_0000_FFFF;
        let base = self.address();
        // 32-bit code, 16-bit code, data: 64 KiB from the program's start.
        let segment = |low: u64| low | u64::from(base & 0xFF_FFFF) << 16 | u64::from(base >> 24) << 56;
        let gdt = [
            0,
            CODE_64,
            segment(0x0040_9B00_0000_FFFF),
            segment(0x0000_9B00_0000_FFFF),
            segment(0x0040_9300_0000_FFFF),
        ];
        self.write(GDT, gdt);
        self.write(GDTR, size_of_val(&gdt) as u16 - 1);
        self.write(GDTR + 2, u64::from(base) + GDT as u64);
        self.write(IDTR, 0x3FFu16);
        self.write(IDTR + 2, base + PAGE as u32);
        let real_mode = (base >> 4) as u16;
        self.write(REAL_FAR, [offset!(modes_real) as u16, real_mode]);
        self.write(BACK_FAR, base + offset!(modes_back) as u32);
        self.write(BACK_FAR + 4, 8u16);
        self.write(PAE_TABLES, base + 2 * PAGE as u32);
        for (vector, handler) in [(UNDEFINED, offset!(modes_undefined)), (SOFTWARE, offset!(modes_software))]
        {
            self.write(PAGE + vector * 4, [handler as u16, real_mode]);
        }
    }

    /// Tables that map the first GiB to itself: one directory of pages of 2 MiB.
    fn paging(&self) {
        let directory = u64::from(self.address()) + 3 * PAGE as u64;
        for index in 0..4 {
            self.write(2 * PAGE + index * 8, if index == 0 { directory | 1 } else { 0 });
        }
        for index in 0..PAGE / 8 {
            self.write(3 * PAGE + index * 8, (index as u64) << 21 | 0x83);
        }
    }

    fn run(&self, flip: u32) -> Results {
        self.write(FLIP, flip);
        self.write(RESULTS, Results::default());
        // SAFETY: The program keeps to this type: it puts back all that it changes but its own pages.
        let entry: extern "sysv64" fn(u64) = unsafe { core::mem::transmute(self.base.as_ptr()) };
        entry(u64::from(self.address()));
        // SAFETY: They lie in the program's first page.
        unsafe { self.base.add(RESULTS).cast::<Results>().read_unaligned() }
    }
}

// RDI and EBP: the program's address. Segments 10h (32 bits), 18h (16 bits) and 20h (data) start there; the stack is the
// upper part of the second page, whose lower part is the interrupt table of real mode.
global_asm!(
    "modes_start:",
    ".code64",
    "push rbx; push rbp; push r12; push r13; push r14; push r15; pushfq",
    "mov ebp, edi",
    "mov [rbp + {rsp}], rsp",
    "sgdt [rbp + {old_gdtr}]",
    "sidt [rbp + {old_idtr}]",
    "mov rax, cr3; mov [rbp + {old_cr3}], rax",
    "mov eax, ss; mov [rbp + {old_ss}], eax",
    "mov eax, cs; mov [rbp + {old_cs}], eax",
    "lgdt [rbp + {gdtr}]",
    "push 0x10; .byte 0x68; .long 2f - modes_start; retfq",
    ".code32",
    "2: mov ax, 0x20; mov ds, ax; mov es, ax; mov ss, ax; mov esp, 0x1ff0",
    // Out of long mode.
    "mov eax, cr0; and eax, 0x7fffffff; xor eax, [{flip}]; mov cr0, eax",
    "mov ecx, 0xc0000080; rdmsr; and eax, 0xfffffeff; wrmsr",
    // PAE paging, and out of it again.
    "mov eax, [{cr3}]; mov cr3, eax",
    "mov eax, cr0; or eax, 0x80000000; xor eax, [{flip}]; mov cr0, eax",
    "mov dword ptr [{paged}], {mark}",
    "mov eax, cr0; and eax, 0x7fffffff; xor eax, [{flip}]; mov cr0, eax",
    "lidt [{idtr}]",
    ".byte 0xea; .long 3f - modes_start; .word 0x18",
    ".code16",
    "3: mov eax, cr0; and eax, 0xfffffffe; mov cr0, eax",
    "ljmp [{real_far}]",
    "modes_real:",
    "mov ax, cs; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x1ff0",
    // Instructions that exit.
    "mov eax, 0x40000000; xor ecx, ecx; cpuid; mov [{signature}], ebx",
    "xor eax, eax; .byte 0x0f, 0x01, 0xc1",
    "int 0x20",
    "xor eax, eax; smsw ax; mov [{status}], eax",
    "mov ecx, 0x1b; rdmsr; mov [{apic_base}], eax",
    "mov dx, 0x80; mov si, 0; mov cx, 4; cld; rep outsb; mov [{string}], si",
    "mov eax, cr0; xor eax, [{flip}]; mov cr0, eax",
    "mov eax, cr0; xor eax, [{flip}]; mov cr0, eax",
    // Back to where it came from.
    "mov eax, cr0; or al, 1; mov cr0, eax",
    ".byte 0x66, 0xea; .long 4f - modes_start; .word 0x10",
    "modes_undefined: push bp; mov bp, sp; add word ptr [bp + 2], 3; pop bp",
    "inc dword ptr [{undefined}]; iret",
    "modes_software: inc dword ptr [{software}]; iret",
    ".code32",
    "4: mov ax, 0x20; mov ds, ax; mov es, ax; mov ss, ax; mov esp, 0x1ff0",
    "mov eax, [{old_cr3}]; mov cr3, eax",
    "mov ecx, 0xc0000080; rdmsr; or eax, 0x100; wrmsr",
    "mov eax, cr0; or eax, 0x80000000; xor eax, [{flip}]; mov cr0, eax",
    "ljmp [{back_far}]",
    ".code64",
    "modes_back: mov ebp, ebp",
    "lgdt [rbp + {old_gdtr}]",
    "lidt [rbp + {old_idtr}]",
    "mov eax, [rbp + {old_ss}]; mov ss, eax; mov ds, eax; mov es, eax",
    "mov rsp, [rbp + {rsp}]",
    "mov eax, [rbp + {old_cs}]; push rax",
    "lea rax, [rip + 5f]; push rax; retfq",
    "5: popfq; pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx; ret",
    "modes_end:",
    mark = const MARK,
    rsp = const OLD_RSP,
    old_gdtr = const OLD_GDTR,
    old_idtr = const OLD_IDTR,
    old_cr3 = const OLD_CR3,
    old_ss = const OLD_SS,
    old_cs = const OLD_CS,
    gdtr = const GDTR,
    idtr = const IDTR,
    flip = const FLIP,
    cr3 = const PAE_TABLES,
    real_far = const REAL_FAR,
    back_far = const BACK_FAR,
    signature = const RESULTS + offset_of!(Results, signature),
    undefined = const RESULTS + offset_of!(Results, undefined),
    software = const RESULTS + offset_of!(Results, software),
    status = const RESULTS + offset_of!(Results, status),
    apic_base = const RESULTS + offset_of!(Results, apic_base),
    paged = const RESULTS + offset_of!(Results, paged),
    string = const RESULTS + offset_of!(Results, string),
);
