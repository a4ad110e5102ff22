//! x86-64: every privileged instruction (AMD64 APM vol. 3, Intel SDM vol. 2), and tricks with flags and stacks.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;

use super::Instruction;

/// Whether the processor has UMIP, by which SGDT and its like fault in ring 3 (AMD64 APM vol. 3, CPUID function 7; Intel SDM
/// vol. 2A, CPUID).
fn has_umip() -> bool {
    __cpuid_count(7, 0).ecx & 1 << 2 != 0
}

/// What there is besides privilege.
pub(super) fn protection() -> &'static str {
    if has_umip() { "UMIP hides the descriptor tables" } else { "there is no UMIP" }
}

/// Reads eight bytes.
///
/// # Safety
/// It faults, or the test has failed.
pub(super) unsafe fn read(address: u64) {
    // SAFETY: As the caller says.
    unsafe { asm!("mov {}, [{}]", out(reg) _, in(reg) address, options(nostack, readonly)) }
}

/// Writes eight bytes.
///
/// # Safety
/// It faults, or the test has failed.
pub(super) unsafe fn write(address: u64) {
    // SAFETY: As the caller says.
    unsafe { asm!("mov [{}], {}", in(reg) address, in(reg) 0x0BAD_0BADu64, options(nostack)) }
}

/// Runs what is there.
///
/// # Safety
/// It faults, or the test has failed.
pub(super) unsafe fn execute(address: u64) {
    // SAFETY: As the caller says.
    unsafe { asm!("call {}", in(reg) address, clobber_abi("sysv64")) }
}

macro_rules! instructions {
    ($($must:ident $name:literal: $($text:literal),+;)*) => {
        &[$(Instruction {
            name: $name,
            may_pass: instructions!($must).0,
            traced: instructions!($must).1,
            run: || {
                // SAFETY: It faults, or leaves all that is not named here as it was.
                unsafe {
                    asm!("mov r12, rsp", $($text,)+ "mov rsp, r12", out("r12") _,
                        inout("rax") 0u64 => _, inout("rcx") 0u64 => _, inout("rdx") 0u64 => _, inout("rdi") 0u64 => _,
                        inout("rsi") 0u64 => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
                }
            },
        },)*]
    };
    (faults) => { (|| false, false) };
    (harmless) => { (|| true, false) };
    (hidden) => { (|| !has_umip(), false) };
    (traced) => { (|| true, true) };
}

/// Where an instruction has operands, they are in RAX, RCX, RDX and 0; memory operands are on the stack.
pub(super) const INSTRUCTIONS: &[Instruction] = instructions! {
    faults "hlt": "hlt";
    faults "cli": "cli";
    faults "sti": "sti";
    faults "in": "in al, dx";
    faults "out": "out dx, al";
    faults "rdmsr": "rdmsr";
    faults "wrmsr": "wrmsr";
    faults "rdpmc": "rdpmc";
    faults "mov from cr0": "mov rax, cr0";
    faults "mov to cr0": "mov cr0, rax";
    faults "mov from cr3": "mov rax, cr3";
    faults "mov to cr3": "mov cr3, rax";
    faults "mov to cr4": "mov cr4, rax";
    faults "mov to cr8": "mov cr8, rax";
    faults "mov from dr7": "mov rax, dr7";
    faults "mov to dr7": "mov dr7, rax";
    faults "clts": "clts";
    faults "lmsw": "lmsw ax";
    faults "lgdt": "sub rsp, 64", "lgdt [rsp]";
    faults "lidt": "sub rsp, 64", "lidt [rsp]";
    faults "lldt": "lldt ax";
    faults "ltr": "ltr ax";
    faults "invlpg": "invlpg [rsp]";
    faults "invd": "invd";
    faults "wbinvd": "wbinvd";
    faults "swapgs": "swapgs";
    faults "sysret": ".byte 0x48, 0x0f, 0x07";
    faults "sysexit": ".byte 0x48, 0x0f, 0x35";
    faults "sysenter": ".byte 0x0f, 0x34";
    faults "iret to ring 0": "mov rax, rsp", "push 16", "push rax", "push 2", "push 8", "push 0", "iretq";
    faults "far call to ring 0": "push 8", "push 0", ".byte 0x48, 0xff, 0x1c, 0x24";
    faults "far return to ring 0": "push 8", "push 0", ".byte 0x48, 0xcb";
    faults "load ss of ring 0": "mov eax, 16", "mov ss, eax";
    faults "xsetbv": ".byte 0x0f, 0x01, 0xd1";
    faults "monitor": ".byte 0x0f, 0x01, 0xc8";
    faults "mwait": ".byte 0x0f, 0x01, 0xc9";
    faults "rsm": ".byte 0x0f, 0xaa";
    faults "invpcid": ".byte 0x66, 0x0f, 0x38, 0x82, 0x04, 0x24";
    faults "vmrun": ".byte 0x0f, 0x01, 0xd8";
    faults "vmmcall": ".byte 0x0f, 0x01, 0xd9";
    faults "vmload": ".byte 0x0f, 0x01, 0xda";
    faults "vmsave": ".byte 0x0f, 0x01, 0xdb";
    faults "stgi": ".byte 0x0f, 0x01, 0xdc";
    faults "clgi": ".byte 0x0f, 0x01, 0xdd";
    faults "skinit": ".byte 0x0f, 0x01, 0xde";
    faults "invlpga": ".byte 0x0f, 0x01, 0xdf";
    faults "vmcall": ".byte 0x0f, 0x01, 0xc1";
    faults "vmlaunch": ".byte 0x0f, 0x01, 0xc2";
    faults "vmresume": ".byte 0x0f, 0x01, 0xc3";
    faults "vmxoff": ".byte 0x0f, 0x01, 0xc4";
    faults "vmread": ".byte 0x0f, 0x78, 0xc0";
    faults "vmwrite": ".byte 0x0f, 0x79, 0xc0";
    faults "vmptrld": ".byte 0x0f, 0xc7, 0x34, 0x24";
    faults "vmclear": ".byte 0x66, 0x0f, 0xc7, 0x34, 0x24";
    faults "vmxon": ".byte 0xf3, 0x0f, 0xc7, 0x34, 0x24";
    faults "invept": ".byte 0x66, 0x0f, 0x38, 0x80, 0x04, 0x24";
    faults "invvpid": ".byte 0x66, 0x0f, 0x38, 0x81, 0x04, 0x24";
    faults "int 2": "int 2";
    faults "int3": "int3";
    faults "int 8": "int 8";
    faults "int 0x80": "int 0x80";
    faults "ud2": "ud2";
    faults "div by zero": "div rcx";
    faults "x87": ".byte 0xd9, 0xe8";
    faults "mmx": ".byte 0x0f, 0xef, 0xc0";
    faults "sse": ".byte 0x0f, 0x57, 0xc0";
    faults "avx": ".byte 0xc5, 0xf8, 0x57, 0xc0";
    faults "fxsave": "sub rsp, 1024", "and rsp, -64", ".byte 0x0f, 0xae, 0x04, 0x24";
    faults "trap flag": "push 0x102", "popfq", "nop", "nop";
    faults "fault on no stack": "mov rsp, 0x8000000000000000", "ud2";
    faults "fault on a kernel's stack": "mov rsp, 0x100000", "push rax";
    traced "system call with the trap flag": "push 0x102", "popfq", "syscall", "push 2", "popfq";
    harmless "system call with the direction flag": "std", "syscall", "cld";
    traced "system call with all flags": "push 0x247fd7", "popfq", "syscall", "push 2", "popfq";
    harmless "system call on no stack": "mov rsp, 0x8000000000000000", "syscall", "mov rsp, r12";
    harmless "system call on address 0": "xor esp, esp", "syscall", "mov rsp, r12";
    harmless "interrupt flag by popf": "push 0x3202", "popfq", "push 2", "popfq";
    harmless "alignment check": "push 0x40002", "popfq", "mov rax, [rsp + 1]", "push 2", "popfq";
    harmless "int1": ".byte 0xf1";
    hidden "sgdt": "sub rsp, 64", "sgdt [rsp]";
    hidden "sidt": "sub rsp, 64", "sidt [rsp]";
    hidden "sldt": "sldt ax";
    hidden "str": "str ax";
    hidden "smsw": "smsw ax";
    harmless "rdtsc": "rdtsc";
    harmless "wrgsbase": ".byte 0xf3, 0x48, 0x0f, 0xae, 0xd8", "syscall";
    harmless "null segments": "mov gs, ax", "mov fs, ax", "mov es, ax", "mov ds, ax", "syscall";
};
