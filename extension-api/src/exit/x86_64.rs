//! The general registers of x86-64 by their names.

use super::Exit;
use crate::abi::ExitClass;
use crate::resume::Resume;

/// What an ID read asks for: a CPUID leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    /// EAX.
    pub leaf: u32,
    /// ECX; of meaning for some leaves only.
    pub subleaf: u32,
}

/// The answer to an ID read: EAX, EBX, ECX and EDX.
pub type IdValue = [u32; 4];

/// A general register; the number is the one in instructions (AMD64 APM vol. 3, table 1-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say all there is to say")]
pub enum Register {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rsp = 4,
    Rbp = 5,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
    R11 = 11,
    R12 = 12,
    R13 = 13,
    R14 = 14,
    R15 = 15,
}

impl Exit<'_> {
    /// A general register.
    #[inline]
    pub fn get(&self, register: Register) -> u64 {
        self.general(register as usize)
    }

    /// Sets a general register.
    #[inline]
    pub fn set(&mut self, register: Register, value: u64) {
        self.set_general(register as usize, value);
    }

    /// RAX.
    #[inline]
    pub fn rax(&self) -> u64 {
        self.get(Register::Rax)
    }

    /// Sets RAX.
    #[inline]
    pub fn set_rax(&mut self, value: u64) {
        self.set(Register::Rax, value);
    }

    /// RCX.
    #[inline]
    pub fn rcx(&self) -> u64 {
        self.get(Register::Rcx)
    }

    /// What an ID read asks for; `None` for all other exits.
    #[inline]
    pub fn id_read(&self) -> Option<Id> {
        let (leaf, subleaf) = self.cpuid_leaf();
        (self.class() == ExitClass::IdRead).then_some(Id { leaf, subleaf })
    }

    /// Answers an ID read, and says how to go on.
    #[inline]
    pub fn answer_id(&mut self, value: IdValue) -> Resume {
        self.set_cpuid(value);
        Resume::AdvanceAndRun
    }

    /// What WRMSR writes.
    #[inline]
    pub fn written_register(&self) -> u64 {
        self.edx_eax()
    }

    /// Answers RDMSR, and says how to go on.
    #[inline]
    pub fn answer_register(&mut self, value: u64) -> Resume {
        self.set_edx_eax(value);
        Resume::AdvanceAndRun
    }

    /// Leaf and sub-leaf of a CPUID instruction: EAX and ECX.
    #[inline]
    pub fn cpuid_leaf(&self) -> (u32, u32) {
        (self.rax() as u32, self.rcx() as u32)
    }

    /// Answers a CPUID instruction with EAX, EBX, ECX and EDX. The upper halves become 0 (AMD64 APM vol. 3, CPUID).
    #[inline]
    pub fn set_cpuid(&mut self, [eax, ebx, ecx, edx]: [u32; 4]) {
        self.set(Register::Rax, u64::from(eax));
        self.set(Register::Rbx, u64::from(ebx));
        self.set(Register::Rcx, u64::from(ecx));
        self.set(Register::Rdx, u64::from(edx));
    }

    /// EDX and EAX together: what WRMSR writes.
    #[inline]
    pub fn edx_eax(&self) -> u64 {
        self.get(Register::Rdx) << 32 | self.rax() & 0xffff_ffff
    }

    /// Answers RDMSR: the halves go to EAX and EDX, the upper halves of RAX and RDX become 0.
    #[inline]
    pub fn set_edx_eax(&mut self, value: u64) {
        self.set_rax(value & 0xffff_ffff);
        self.set(Register::Rdx, value >> 32);
    }
}
