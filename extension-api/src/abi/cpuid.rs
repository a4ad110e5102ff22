//! What CPUID does not show to the root VM: features of the processor that it does not get.
//!
//! One table for the kernel's own answers and for the extension's pass-through, so that an OS sees one processor, with the
//! extension and without. Where a feature is missing here its registers are closed in the kernel's tables of MSRs, and the
//! other way round. A feature is missing too whose instructions or events need a switch in a guest's control structure that
//! the kernel does not set.

use super::table::constants;

/// EAX, EBX, ECX and EDX.
pub type Words = [u32; 4];

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
    // Evaluated when the table is compiled: no entry is without effect.
    assert!(word <= EDX);
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
    /// Leaf 7 sub-leaf 1 EAX: leaf 23H, which tells of the newer PEBS; FRED, which has fields of its own in a control
    /// structure; MSRLIST, which needs tertiary controls.
    CPUID_HIDDEN_7_1_EAX = 1 << 8 | 1 << 17 | 1 << 27;
    /// Leaf 7 sub-leaf 1 EBX: TSE (PBNDKB), which needs tertiary controls.
    CPUID_HIDDEN_7_1_EBX = 1 << 1;
    /// Leaf DH sub-leaf 1 ECX: XSAVES of processor trace and of last-branch records.
    CPUID_HIDDEN_D_1_ECX = 1 << 8 | 1 << 15;
    /// Leaf 80000001H ECX: SVM, IBS, SKINIT, lightweight profiling.
    CPUID_HIDDEN_80000001_ECX = 1 << 2 | 1 << 10 | 1 << 12 | 1 << 15;
    /// Leaf 80000008H EBX: INVLPGB and TLBSYNC, unless leaf 8000000AH EDX bit 24 says that a guest can execute them.
    CPUID_HIDDEN_80000008_EBX = 1 << 3;
    /// Leaf 8000001FH EAX: all but SME and its coherency; SEV and SNP belong to SVM.
    CPUID_HIDDEN_8000001F_EAX = 0xFFFF_FBFE;
    /// Leaf 8000001FH ECX: how many encrypted guests there can be.
    CPUID_HIDDEN_8000001F_ECX = 0xFFFF_FFFF;
    /// Leaf 80000021H EAX: CPUID faulting.
    CPUID_HIDDEN_80000021_EAX = 1 << 17;
    /// Leaf 80000022H EAX: last-branch records, and their freeze.
    CPUID_HIDDEN_80000022_EAX = 1 << 1 | 1 << 2;
}

const BITS: [Hidden; 13] = [
    hidden(1, None, ECX, CPUID_HIDDEN_1_ECX),
    hidden(1, None, EDX, CPUID_HIDDEN_1_EDX),
    hidden(6, None, EAX, CPUID_HIDDEN_6_EAX),
    hidden(7, Some(0), EBX, CPUID_HIDDEN_7_EBX),
    hidden(7, Some(0), EDX, CPUID_HIDDEN_7_EDX),
    hidden(7, Some(1), EAX, CPUID_HIDDEN_7_1_EAX),
    hidden(7, Some(1), EBX, CPUID_HIDDEN_7_1_EBX),
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

/// INVLPGB's leaf.
const ADDRESS_SIZES: u32 = 0x8000_0008;
/// The leaf that tells of SVM.
const SVM_FEATURES: u32 = 0x8000_000A;

/// Whether a guest can execute INVLPGB and TLBSYNC where the kernel lets it, by the machine's answers: a guest's broadcast
/// is about its own ASID, which for the root VM is the same on every processor (AMD64 APM vol. 3, "INVLPGB"; vol. 2,
/// appendix B, offset 090h bit 7).
pub fn has_guest_invlpgb(native: impl Fn(u32, u32) -> Words) -> bool {
    native(ADDRESS_SIZES, 0)[EBX] & CPUID_HIDDEN_80000008_EBX as u32 != 0
        && native(SVM_FEATURES, 0)[EDX] & 1 << 24 != 0
}

/// Where the extended leaves begin.
const EXTENDED: u32 = 0x8000_0000;
/// The leaves of which some is hidden, a bit each: basic ones and extended ones.
const HIDING: [u64; 2] = [hiding(0), hiding(EXTENDED)];

/// Those from `first` on.
const fn hiding(first: u32) -> u64 {
    let mut leaves = if first == EXTENDED { bit(ADDRESS_SIZES) } else { 0 };
    let mut index = 0;
    while index < BITS.len() {
        if BITS[index].leaf & EXTENDED == first {
            leaves |= bit(BITS[index].leaf);
        }
        index += 1;
    }
    let mut leaf = first;
    while leaf < first + u64::BITS {
        if is_empty(leaf, 8) {
            leaves |= bit(leaf);
        }
        leaf += 1;
    }
    leaves
}

/// A leaf's bit in [`HIDING`].
const fn bit(leaf: u32) -> u64 {
    1 << (leaf & !EXTENDED)
}

/// Whether some of a leaf is hidden. At every CPUID exit: one look into a word of bits.
#[inline]
#[must_use]
pub const fn hides(leaf: u32) -> bool {
    let number = leaf & !EXTENDED;
    number < u64::BITS && HIDING[(leaf >> 31) as usize] >> number & 1 != 0
}

/// The machine's answer without what is hidden; `native` gives the machine's answers.
pub fn visible(leaf: u32, subleaf: u32, native: impl Fn(u32, u32) -> Words) -> Words {
    if is_empty(leaf, subleaf) {
        return [0; 4];
    }
    let mut words = native(leaf, subleaf);
    for part in
        BITS.iter().filter(|part| part.leaf == leaf && part.subleaf.is_none_or(|only| only == subleaf))
    {
        if let Some(word) = words.get_mut(part.word) {
            *word &= !part.bits;
        }
    }
    if leaf == ADDRESS_SIZES && !has_guest_invlpgb(native) {
        words[EBX] &= !(CPUID_HIDDEN_80000008_EBX as u32);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Words = [u32::MAX; 4];

    /// What is shown of a machine that has everything.
    fn shown(leaf: u32, subleaf: u32) -> Words {
        visible(leaf, subleaf, |_, _| ALL)
    }

    #[test]
    fn what_hides_something_says_so() {
        let leaves = (0..0x30).chain(0x4000_0000..0x4000_0100).chain(0x8000_0000..0x8000_0030);
        for leaf in leaves {
            let changes = (0..0x40).any(|subleaf| {
                let alone = visible(leaf, subleaf, |asked, _| if asked == leaf { ALL } else { [0; 4] });
                alone != ALL || shown(leaf, subleaf) != ALL
            });
            assert!(hides(leaf) || !changes, "{leaf:#x}");
        }
    }

    #[test]
    fn the_virtualization_extensions_are_hidden() {
        assert_eq!(shown(1, 0)[ECX] & (1 << 5), 0, "VMX");
        assert_eq!(shown(0x8000_0001, 0)[ECX] & 0x1004, 0, "SVM, SKINIT");
        assert_eq!(shown(0x8000_000A, 0), [0; 4]);
        assert_eq!(shown(0x8000_001F, 0), [1 | 1 << 10, u32::MAX, 0, u32::MAX]);
    }

    #[test]
    fn what_writes_memory_by_itself_is_hidden() {
        assert_eq!(shown(1, 0)[EDX] & (1 << 21), 0, "debug store");
        assert_eq!(shown(6, 0)[EAX] & (1 << 19), 0, "hardware feedback");
        assert_eq!(shown(7, 0)[EBX] & (1 << 25), 0, "processor trace");
        assert_eq!(shown(7, 2), ALL, "the bits are sub-leaf 0's and 1's");
        assert_eq!(shown(0xD, 1)[ECX] & 0x8100, 0, "and its component of XSAVES");
        assert_eq!(shown(0xD, 8), [0; 4]);
        assert_eq!(shown(0xD, 2), ALL);
        assert_eq!(shown(0x14, 1), [0; 4]);
    }

    #[test]
    fn what_needs_a_switch_that_the_kernel_does_not_set_is_hidden() {
        assert_eq!(shown(7, 1), [!(1 << 8 | 1 << 17 | 1 << 27), !2, u32::MAX, u32::MAX]);
        let without_switch = |leaf, _| if leaf == 0x8000_0008 { ALL } else { [0; 4] };
        assert_eq!(visible(0x8000_0008, 0, without_switch), [u32::MAX, !8, u32::MAX, u32::MAX]);
        assert_eq!(shown(0x8000_0008, 0), ALL, "INVLPGB has its switch");
    }
}
