//! What a processor leaks by speculation, and what the kernel does about it: decided once, from what the processor says.

use plinth_kernel::options;

use crate::{cpuid, msr};

/// The kernel's option: the extension has page tables of its own, or not, whatever the processor says.
///
/// | Option | Meaning |
/// | --- | --- |
/// | `separate-tables=on` | always |
/// | `separate-tables=off` | never |
const SEPARATE_TABLES: &str = "separate-tables=";

/// CPUID 7.0 EDX: IA32_ARCH_CAPABILITIES is there (Intel SDM vol. 2A, CPUID).
const HAS_CAPABILITIES: u32 = 1 << 29;
/// IA32_ARCH_CAPABILITIES (Intel SDM vol. 4, table 2-2): not open to Meltdown, nor to L1TF.
const RDCL_NO: u64 = 1 << 0;
/// The same: not open to microarchitectural data sampling.
const MDS_NO: u64 = 1 << 5;

/// What a processor says that matters here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Processor {
    /// The vendor's name (CPUID 0).
    vendor: [u8; 12],
    /// IA32_ARCH_CAPABILITIES; 0 where there is none.
    capabilities: u64,
}

impl Processor {
    /// The one that the caller runs on.
    pub fn current() -> Self {
        let [last_leaf, ..] = cpuid::native(0, 0);
        let [_, _, _, features] = if last_leaf < 7 { [0; 4] } else { cpuid::native(7, 0) };
        let capabilities = if features & HAS_CAPABILITIES == 0 {
            0
        } else {
            // SAFETY: the MSR is there, and reading it changes nothing.
            unsafe { msr::read(msr::index::ARCH_CAPABILITIES) }
        };
        Self { vendor: vendor(cpuid::native(0, 0)), capabilities }
    }

    /// Whether kernel and extension get tables of their own, under this command line.
    pub fn separates_tables(&self, command_line: &[u8]) -> bool {
        options::switch(command_line, SEPARATE_TABLES).unwrap_or(self.leaks_what_is_mapped())
    }

    /// Whether user mode may find out what is mapped and not allowed (Meltdown), or what the kernel has just touched (MDS):
    /// the way to the extension's own tables is also the one that clears the processor's buffers. AMD's processors do
    /// neither; one that does not say so is taken to do both.
    fn leaks_what_is_mapped(&self) -> bool {
        match &self.vendor {
            b"AuthenticAMD" | b"HygonGenuine" => false,
            b"GenuineIntel" => self.capabilities & (RDCL_NO | MDS_NO) != RDCL_NO | MDS_NO,
            _ => true,
        }
    }
}

fn vendor([_, ebx, ecx, edx]: [u32; 4]) -> [u8; 12] {
    let mut name = [0; 12];
    for (bytes, word) in name.chunks_exact_mut(4).zip([ebx, edx, ecx]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEL: Processor = Processor { vendor: *b"GenuineIntel", capabilities: 0 };
    const AMD: Processor = Processor { vendor: *b"AuthenticAMD", ..INTEL };

    #[test]
    fn a_processor_leaks_unless_its_vendor_says_that_it_does_not() {
        assert!(!AMD.separates_tables(b""));
        assert!(INTEL.separates_tables(b""));
        assert!(Processor { vendor: *b"CentaurHauls", ..INTEL }.separates_tables(b""));
        for (capabilities, separate) in [(RDCL_NO, true), (MDS_NO, true), (RDCL_NO | MDS_NO, false)] {
            assert_eq!(
                Processor { capabilities, ..INTEL }.separates_tables(b""),
                separate,
                "{capabilities:#x}"
            );
        }
    }

    #[test]
    fn the_command_line_overrides_it() {
        assert!(AMD.separates_tables(b"watchdog=7 separate-tables=on"));
        assert!(!INTEL.separates_tables(b"separate-tables=on separate-tables=off"));
        assert!(INTEL.separates_tables(b"separate-tables=perhaps"));
    }

    #[test]
    fn the_vendor_is_spelled_by_three_registers() {
        assert_eq!(&vendor([0xD, 0x756E_6547, 0x6C65_746E, 0x4965_6E69]), b"GenuineIntel");
    }
}
