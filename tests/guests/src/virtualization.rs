//! The instructions of both vendors' virtualization extensions, and of Intel's safer-mode extension.

use crate::cpu;
use crate::probe;
use crate::trap::Fault;

/// What operands in memory hold before and must hold afterwards.
const CONTENT: [u64; 2] = [0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00];

/// An instruction that is not there. Its operands are RAX and RCX, which are 0, or the 16 bytes at RSI.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    /// Its mnemonic, and how it differs from another with the same.
    pub name: &'static str,
    /// Its length in bytes.
    pub length: u64,
    run: fn() -> (Option<Fault>, bool),
}

impl Instruction {
    /// Executes it. Returns the fault that it raises, and whether its operands are what they were.
    pub fn run(self) -> (Option<Fault>, bool) {
        (self.run)()
    }
}

macro_rules! instructions {
    ($($name:literal, $length:literal, $bytes:literal;)*) => {
        &[$(Instruction {
            name: $name,
            length: $length,
            run: || {
                let memory = CONTENT;
                let (rax, rcx): (u64, u64);
                // SAFETY: The instruction must fault; its operands are RAX, RCX and the local variable.
                let fault = unsafe {
                    probe!($bytes; inout("rax") 0u64 => rax, inout("rcx") 0u64 => rcx, in("rsi") memory.as_ptr())
                };
                (fault, rax | rcx == 0 && memory == CONTENT)
            },
        }),*]
    };
}

/// AMD's (AMD64 APM vol. 3, chapter 4), and the other vendor's hypercall.
const AMD: &[Instruction] = instructions! {
    "vmrun", 3, ".byte 0x0f, 0x01, 0xd8";
    "vmload", 3, ".byte 0x0f, 0x01, 0xda";
    "vmsave", 3, ".byte 0x0f, 0x01, 0xdb";
    "stgi", 3, ".byte 0x0f, 0x01, 0xdc";
    "clgi", 3, ".byte 0x0f, 0x01, 0xdd";
    "skinit", 3, ".byte 0x0f, 0x01, 0xde";
    "invlpga", 3, ".byte 0x0f, 0x01, 0xdf";
    "vmcall", 3, ".byte 0x0f, 0x01, 0xc1";
    "vmmcall-zero", 3, ".byte 0x0f, 0x01, 0xd9";
};

/// Intel's (Intel SDM vol. 3C, chapter 31), and the other vendor's hypercall.
const INTEL: &[Instruction] = instructions! {
    "vmlaunch", 3, ".byte 0x0f, 0x01, 0xc2";
    "vmresume", 3, ".byte 0x0f, 0x01, 0xc3";
    "vmxoff", 3, ".byte 0x0f, 0x01, 0xc4";
    "vmfunc", 3, ".byte 0x0f, 0x01, 0xd4";
    "vmxon", 4, ".byte 0xf3, 0x0f, 0xc7, 0x36";
    "vmclear", 4, ".byte 0x66, 0x0f, 0xc7, 0x36";
    "vmptrld", 3, ".byte 0x0f, 0xc7, 0x36";
    "vmptrst", 3, ".byte 0x0f, 0xc7, 0x3e";
    "vmread", 3, ".byte 0x0f, 0x78, 0xc8";
    "vmread-memory", 3, ".byte 0x0f, 0x78, 0x0e";
    "vmwrite", 3, ".byte 0x0f, 0x79, 0xc8";
    "vmwrite-memory", 3, ".byte 0x0f, 0x79, 0x0e";
    "invept", 5, ".byte 0x66, 0x0f, 0x38, 0x80, 0x0e";
    "invvpid", 5, ".byte 0x66, 0x0f, 0x38, 0x81, 0x0e";
    "getsec", 2, ".byte 0x0f, 0x37";
    "vmmcall", 3, ".byte 0x0f, 0x01, 0xd9";
    "vmcall-zero", 3, ".byte 0x0f, 0x01, 0xc1";
};

/// Those of this processor's vendor.
pub fn instructions() -> &'static [Instruction] {
    if cpu::is_amd() { AMD } else { INTEL }
}
