//! What an instruction that exited takes from the general registers, each read once: see [`plinth_hal::ExitRegisters`].
//!
//! The functions use the registers up. What they return is the kernel's own, so what was checked is what is used.

use crate::memory::Words;

/// An exit page of this machine.
pub type ExitPage = plinth_hal::ExitPage<&'static Words>;

/// The general registers at an exit, to be read once.
pub type ExitRegisters = plinth_hal::ExitRegisters<&'static Words>;

/// The way to write into an exit page.
pub type ExitPageWriter = plinth_hal::ExitPageWriter<&'static Words>;

/// Numbers of general registers in instructions (Intel SDM vol. 2A, table 2-2).
pub mod number {
    /// RAX.
    pub const RAX: usize = 0;
    /// RCX.
    pub const RCX: usize = 1;
    /// RDX.
    pub const RDX: usize = 2;
    /// RBX.
    pub const RBX: usize = 3;
    pub use crate::root_state::RSP;
}

use number::{RAX, RBX, RCX, RDX};

/// What CPUID asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuidQuery {
    /// EAX.
    pub leaf: u32,
    /// ECX.
    pub subleaf: u32,
}

impl CpuidQuery {
    /// That of the CPUID that has just exited.
    #[inline]
    pub fn take(registers: ExitRegisters) -> Self {
        let [leaf, subleaf] = registers.take([RAX, RCX]);
        Self { leaf: leaf as u32, subleaf: subleaf as u32 }
    }
}

/// Gives CPUID its results: EAX, EBX, ECX, EDX.
#[inline]
pub fn answer_cpuid(writer: ExitPageWriter, [eax, ebx, ecx, edx]: [u32; 4]) {
    for (number, value) in [(RAX, eax), (RBX, ebx), (RCX, ecx), (RDX, edx)] {
        writer.set_general(number, u64::from(value));
    }
}

/// Gives RDMSR its result.
pub fn answer_rdmsr(writer: ExitPageWriter, value: u64) {
    writer.set_general(RAX, value & 0xffff_ffff);
    writer.set_general(RDX, value >> 32);
}

/// A write of a register whose number is in ECX, and its value in EDX:EAX: WRMSR and XSETBV.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NumberedWrite {
    /// Which register.
    pub register: u32,
    /// What is written.
    pub value: u64,
}

impl NumberedWrite {
    /// That of the instruction that has just exited.
    pub fn take(registers: ExitRegisters) -> Self {
        let [register, high, low] = registers.take([RCX, RDX, RAX]);
        Self { register: register as u32, value: joined(high, low) }
    }
}

/// The number of the MSR that RDMSR or WRMSR accesses: ECX.
pub fn msr_number(registers: ExitRegisters) -> u32 {
    let [number] = registers.take([RCX]);
    number as u32
}

/// The value that WRMSR writes, where the MSR's number has been taken before: EDX:EAX.
pub fn msr_value(registers: ExitRegisters) -> u64 {
    let [high, low] = registers.take([RDX, RAX]);
    joined(high, low)
}

fn joined(high: u64, low: u64) -> u64 {
    high << 32 | low & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// An exit page of the test's own.
    macro_rules! page {
        () => {{
            static WORDS: Words = [const { AtomicU64::new(0) }; 512];
            (ExitPage::new(&WORDS), &WORDS)
        }};
    }

    #[test]
    fn a_write_is_register_and_value_of_32_bits_each() {
        let (page, words) = page!();
        for (number, value) in [(RAX, 0x1_2345_6789), (RCX, 0xF_C000_0080), (RDX, 0xABCD)] {
            words[number].store(value, Ordering::Relaxed);
        }
        let write = NumberedWrite::take(page.registers_once());
        assert_eq!(write, NumberedWrite { register: 0xC000_0080, value: 0xABCD_2345_6789 });
        assert_eq!(msr_number(page.registers_once()), 0xC000_0080);
        assert_eq!(msr_value(page.registers_once()), 0xABCD_2345_6789);
        let query = CpuidQuery::take(page.registers_once());
        assert_eq!(query, CpuidQuery { leaf: 0x2345_6789, subleaf: 0xC000_0080 });
    }

    #[test]
    fn what_was_taken_does_not_change_with_the_page() {
        let (page, words) = page!();
        words[RCX].store(0x2FF, Ordering::Relaxed);
        let write = NumberedWrite::take(page.registers_once());
        words[RCX].store(0xC000_0103, Ordering::Relaxed);
        assert_eq!(write.register, 0x2FF);
    }

    #[test]
    fn answers_are_zero_extended() {
        let (page, words) = page!();
        answer_cpuid(page.writer(), [1, 2, 3, u32::MAX]);
        let general = |number: usize| words[number].load(Ordering::Relaxed);
        assert_eq!([RAX, RBX, RCX, RDX].map(general), [1, 2, 3, 0xffff_ffff]);
        answer_rdmsr(page.writer(), 0xFFFF_FFFE_0000_0001);
        assert_eq!([RAX, RDX].map(general), [1, 0xffff_fffe]);
    }
}
