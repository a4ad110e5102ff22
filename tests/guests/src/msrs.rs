//! Every MSR of the architectural ranges: what RDMSR gives, and what becomes of writing that back.

use crate::cpu;

/// First MSR and how many, of each range: those that permission maps cover (AMD64 APM vol. 2, 15.11; Intel SDM vol. 3C,
/// "MSR-Bitmap Address"), the banks of SMCA, and those that hypervisors use by convention.
pub const RANGES: [(u32, u32); 4] =
    [(0, 0x2000), (0x4000_0000, 0x1000), (0xC000_0000, 0x3000), (0xC001_0000, 0x2000)];

/// How many MSRs [`RANGES`] are.
pub const COUNT: usize = 0x8000;

/// All numbers of [`RANGES`].
pub fn all() -> impl Iterator<Item = u32> {
    RANGES.into_iter().flat_map(|(first, count)| first..first + count)
}

/// What an access ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It succeeds.
    Passes,
    /// It raises #GP(0).
    Faults,
    /// It is not tried.
    Skipped,
}

/// What was found of an MSR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// What RDMSR gives; `None` for #GP(0).
    pub value: Option<u64>,
    /// What WRMSR of that value ends with.
    pub write: Access,
}

/// MSRs whose value differs from one read to the next, or that count: the TSC and its copies, the APIC's timer.
pub fn is_volatile(number: u32) -> bool {
    matches!(number, 0x10 | 0xE7 | 0xE8 | 0x6E0 | 0x838 | 0x839 | 0xC000_00E7..=0xC000_00E9 | 0xC001_0280)
}

/// MSRs that are not written: writing back what was read would set a clock back, arm a timer or send an interrupt.
fn has_effects(number: u32) -> bool {
    is_volatile(number) || matches!(number, 0x3B | 0x79 | 0x80B | 0x830 | 0x83F | 0xC001_0020)
}

/// Reads an MSR, and writes back what was read.
pub fn poke(number: u32) -> Found {
    let value = cpu::read_msr(number).ok();
    let write = match value {
        Some(value) if !has_effects(number) => {
            // SAFETY: The register has the value already, and writing it has no other effect.
            match unsafe { cpu::write_msr(number, value) } {
                Ok(()) => Access::Passes,
                Err(_) => Access::Faults,
            }
        }
        _ => Access::Skipped,
    };
    Found { value, write }
}
