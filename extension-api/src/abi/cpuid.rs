//! What CPUID does not show to the root VM: features of the processor that it does not get.
//!
//! One table for the kernel's own answers and for the extension's pass-through, so that an OS sees one processor, with the
//! extension and without. Where a feature is missing here its registers are closed in the kernel's tables of MSRs, and the
//! other way round.

use super::table::constants;

/// EAX, EBX, ECX and EDX.
type Words = [u32; 4];

const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// A part of an answer that is cleared.
struct Hidden {
    leaf: u32,
    /// `None`: every sub-leaf.
    subleaf: Option<u32>,
    word: usize,
    bits: u32,
}

const fn hidden(leaf: u32, subleaf: Option<u32>, word: usize, bits: u64) -> Hidden {
    Hidden { leaf, subleaf, word, bits: bits as u32 }
}

constants! {
    /// Features that CPUID does not show to the root VM: bits of a word of a leaf (Intel SDM vol. 2, CPUID; AMD64 APM vol. 3,
    /// appendix E).
    CPUID_HIDDEN:
    /// Leaf 1 ECX: DTES64 and DS-CPL of the debug store, VMX, SMX.
    CPUID_HIDDEN_1_ECX = 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6;
    /// Leaf 1 EDX: the debug store.
    CPUID_HIDDEN_1_EDX = 1 << 21;
    /// Leaf 6 EAX: hardware feedback, thread director.
    CPUID_HIDDEN_6_EAX = 1 << 19 | 1 << 23;
    /// Leaf 7 sub-leaf 0 EBX: processor trace.
    CPUID_HIDDEN_7_EBX = 1 << 25;
    /// Leaf 7 sub-leaf 0 EDX: last-branch records of the architecture.
    CPUID_HIDDEN_7_EDX = 1 << 19;
    /// Leaf 7 sub-leaf 1 EAX: leaf 23H, which tells of the newer PEBS.
    CPUID_HIDDEN_7_1_EAX = 1 << 8;
    /// Leaf DH sub-leaf 1 ECX: XSAVES of processor trace and of last-branch records.
    CPUID_HIDDEN_D_1_ECX = 1 << 8 | 1 << 15;
    /// Leaf 80000001H ECX: SVM, IBS, SKINIT, lightweight profiling.
    CPUID_HIDDEN_80000001_ECX = 1 << 2 | 1 << 10 | 1 << 12 | 1 << 15;
    /// Leaf 8000001FH EAX: all but SME and its coherency; SEV and SNP belong to SVM.
    CPUID_HIDDEN_8000001F_EAX = 0xFFFF_FBFE;
    /// Leaf 8000001FH ECX: how many encrypted guests there can be.
    CPUID_HIDDEN_8000001F_ECX = 0xFFFF_FFFF;
    /// Leaf 80000021H EAX: CPUID faulting.
    CPUID_HIDDEN_80000021_EAX = 1 << 17;
    /// Leaf 80000022H EAX: last-branch records, and their freeze.
    CPUID_HIDDEN_80000022_EAX = 1 << 1 | 1 << 2;
}

const BITS: [Hidden; 12] = [
    hidden(1, None, ECX, CPUID_HIDDEN_1_ECX),
    hidden(1, None, EDX, CPUID_HIDDEN_1_EDX),
    hidden(6, None, EAX, CPUID_HIDDEN_6_EAX),
    hidden(7, Some(0), EBX, CPUID_HIDDEN_7_EBX),
    hidden(7, Some(0), EDX, CPUID_HIDDEN_7_EDX),
    hidden(7, Some(1), EAX, CPUID_HIDDEN_7_1_EAX),
    hidden(0xD, Some(1), ECX, CPUID_HIDDEN_D_1_ECX),
    hidden(0x8000_0001, None, ECX, CPUID_HIDDEN_80000001_ECX),
    hidden(0x8000_001F, None, EAX, CPUID_HIDDEN_8000001F_EAX),
    hidden(0x8000_001F, None, ECX, CPUID_HIDDEN_8000001F_ECX),
    hidden(0x8000_0021, None, EAX, CPUID_HIDDEN_80000021_EAX),
    hidden(0x8000_0022, None, EAX, CPUID_HIDDEN_80000022_EAX),
];

/// Whether all of a leaf is hidden: it tells of nothing but features that are.
const fn is_empty(leaf: u32, subleaf: u32) -> bool {
    match leaf {
        // Components of XSAVES: processor trace, last-branch records.
        0xD => matches!(subleaf, 8 | 15),
        // Processor trace; last-branch records; newer PEBS. SVM; IBS; lightweight profiling; SNP's table.
        0x14 | 0x1C | 0x23 | 0x8000_000A | 0x8000_001B | 0x8000_001C | 0x8000_0025 => true,
        _ => false,
    }
}

/// Whether some of a leaf is hidden.
#[inline]
#[must_use]
pub const fn hides(leaf: u32) -> bool {
    matches!(
        leaf,
        1 | 6 | 7 | 0xD | 0x14 | 0x1C | 0x23 | 0x8000_0001 | 0x8000_000A | 0x8000_001B..=0x8000_0025
    )
}

/// The machine's answer without what is hidden.
#[must_use]
pub fn visible(leaf: u32, subleaf: u32, native: Words) -> Words {
    if is_empty(leaf, subleaf) {
        return [0; 4];
    }
    let mut words = native;
    for part in
        BITS.iter().filter(|part| part.leaf == leaf && part.subleaf.is_none_or(|only| only == subleaf))
    {
        words[part.word] &= !part.bits;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Words = [u32::MAX; 4];

    #[test]
    fn what_hides_something_says_so() {
        let leaves = (0..0x30).chain(0x4000_0000..0x4000_0100).chain(0x8000_0000..0x8000_0030);
        for leaf in leaves {
            let changes = (0..0x40).any(|subleaf| visible(leaf, subleaf, ALL) != ALL);
            assert!(hides(leaf) || !changes, "{leaf:#x}");
        }
    }

    #[test]
    fn the_virtualization_extensions_are_hidden() {
        assert_eq!(visible(1, 0, ALL)[ECX] & (1 << 5), 0, "VMX");
        assert_eq!(visible(0x8000_0001, 0, ALL)[ECX] & 0x1004, 0, "SVM, SKINIT");
        assert_eq!(visible(0x8000_000A, 0, ALL), [0; 4]);
        assert_eq!(visible(0x8000_001F, 0, ALL), [1 | 1 << 10, u32::MAX, 0, u32::MAX]);
    }

    #[test]
    fn what_writes_memory_by_itself_is_hidden() {
        assert_eq!(visible(1, 0, ALL)[EDX] & (1 << 21), 0, "debug store");
        assert_eq!(visible(6, 0, ALL)[EAX] & (1 << 19), 0, "hardware feedback");
        assert_eq!(visible(7, 0, ALL)[EBX] & (1 << 25), 0, "processor trace");
        assert_eq!(visible(7, 2, ALL), ALL, "the bits are sub-leaf 0's and 1's");
        assert_eq!(visible(0xD, 1, ALL)[ECX] & 0x8100, 0, "and its component of XSAVES");
        assert_eq!(visible(0xD, 8, ALL), [0; 4]);
        assert_eq!(visible(0xD, 2, ALL), ALL);
        assert_eq!(visible(0x14, 1, ALL), [0; 4]);
    }
}
