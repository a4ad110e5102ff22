//! What CPUID shows to the root VM of the processor: what somebody has looked at, and nothing else.
//!
//! One table for the kernel's own answers and for the extension's pass-through, so that an OS sees one processor, with the
//! extension and without. Where a feature is hidden its registers are closed in the kernel's tables of MSRs, and the
//! other way round. A feature is hidden too whose instructions or events need a switch in a guest's control structure that
//! the kernel does not set; and so is each bit and each leaf of a processor that is newer than the table.

pub mod features;
pub mod leaves;

use features::{WORDS, Word};
use leaves::{BASIC, EXTENDED};

use super::table::constants;

/// EAX, EBX, ECX and EDX.
pub type Words = [u32; 4];

const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// Where the extended leaves begin.
const FIRST_EXTENDED: u32 = 0x8000_0000;
/// INVLPGB's leaf, and its bit.
const ADDRESS_SIZES: u32 = 0x8000_0008;
const INVLPGB: u32 = 1 << 3;
/// The leaf that tells of SVM.
const SVM_FEATURES: u32 = 0x8000_000A;

constants! {
    /// What CPUID shows to the root VM: leaves, and bits of a word of a leaf (Intel SDM vol. 2, CPUID; AMD64 APM vol. 3,
    /// appendix E). All other words of these leaves are the machine's.
    CPUID_SHOWN:
    /// The basic leaves, a bit each: the others are zeros. Of leaf 7 these are the sub-leaves 0, 1 and 2.
    CPUID_SHOWN_BASIC = leaves(BASIC);
    /// The extended leaves, a bit each.
    CPUID_SHOWN_EXTENDED = leaves(EXTENDED);
    /// Leaf 1 ECX.
    CPUID_SHOWN_1_ECX = shown(1, 0, ECX);
    /// Leaf 1 EDX.
    CPUID_SHOWN_1_EDX = shown(1, 0, EDX);
    /// Leaf 6 EAX.
    CPUID_SHOWN_6_EAX = shown(6, 0, EAX);
    /// Leaf 6 ECX; EDX is 0.
    CPUID_SHOWN_6_ECX = shown(6, 0, ECX);
    /// Leaf 7 sub-leaf 0 EBX.
    CPUID_SHOWN_7_EBX = shown(7, 0, EBX);
    /// Leaf 7 sub-leaf 0 ECX.
    CPUID_SHOWN_7_ECX = shown(7, 0, ECX);
    /// Leaf 7 sub-leaf 0 EDX.
    CPUID_SHOWN_7_EDX = shown(7, 0, EDX);
    /// Leaf 7 sub-leaf 1 EAX.
    CPUID_SHOWN_7_1_EAX = shown(7, 1, EAX);
    /// Leaf 7 sub-leaf 1 EBX.
    CPUID_SHOWN_7_1_EBX = shown(7, 1, EBX);
    /// Leaf 7 sub-leaf 1 ECX.
    CPUID_SHOWN_7_1_ECX = shown(7, 1, ECX);
    /// Leaf 7 sub-leaf 1 EDX.
    CPUID_SHOWN_7_1_EDX = shown(7, 1, EDX);
    /// Leaf 7 sub-leaf 2 EDX; its other words are 0.
    CPUID_SHOWN_7_2_EDX = shown(7, 2, EDX);
    /// Leaf DH sub-leaf 0 EAX, XCR0: sub-leaves from 2 on are zeros unless their bit is here or in `CPUID_SHOWN_D_1_ECX`; EDX
    /// is 0.
    CPUID_SHOWN_D_EAX = shown(0xD, 0, EAX);
    /// Leaf DH sub-leaf 1 EAX.
    CPUID_SHOWN_D_1_EAX = shown(0xD, 1, EAX);
    /// Leaf DH sub-leaf 1 ECX, IA32_XSS; EDX is 0.
    CPUID_SHOWN_D_1_ECX = shown(0xD, 1, ECX);
    /// Leaf 80000001H ECX.
    CPUID_SHOWN_80000001_ECX = shown(0x8000_0001, 0, ECX);
    /// Leaf 80000001H EDX.
    CPUID_SHOWN_80000001_EDX = shown(0x8000_0001, 0, EDX);
    /// Leaf 80000007H EBX.
    CPUID_SHOWN_80000007_EBX = shown(0x8000_0007, 0, EBX);
    /// Leaf 80000007H EDX.
    CPUID_SHOWN_80000007_EDX = shown(0x8000_0007, 0, EDX);
    /// Leaf 80000008H EBX; bit 3, INVLPGB, only where leaf 8000000AH EDX bit 24 says that a guest can execute it.
    CPUID_SHOWN_80000008_EBX = shown(0x8000_0008, 0, EBX);
    /// Leaf 8000001FH EAX; ECX and EDX are 0.
    CPUID_SHOWN_8000001F_EAX = shown(0x8000_001F, 0, EAX);
    /// Leaf 80000021H EAX.
    CPUID_SHOWN_80000021_EAX = shown(0x8000_0021, 0, EAX);
    /// Leaf 80000021H ECX.
    CPUID_SHOWN_80000021_ECX = shown(0x8000_0021, 0, ECX);
    /// Leaf 80000022H EAX.
    CPUID_SHOWN_80000022_EAX = shown(0x8000_0022, 0, EAX);
}

/// The leaves of a list, a bit each.
const fn leaves(list: &[(u32, &str)]) -> u64 {
    let (mut bits, mut index) = (0, 0);
    while index < list.len() {
        bits |= 1 << (list[index].0 & !FIRST_EXTENDED);
        index += 1;
    }
    bits
}

/// The bits of a word that are shown; all of one that [`WORDS`] does not have.
const fn shown(leaf: u32, subleaf: u32, word: usize) -> u64 {
    let mut index = 0;
    while index < WORDS.len() {
        let row = &WORDS[index];
        if row.leaf == leaf && row.subleaf == subleaf && row.word == word {
            return mask(row) as u64;
        }
        index += 1;
    }
    u32::MAX as u64
}

const fn mask(row: &Word) -> u32 {
    let (mut bits, mut index) = (0, 0);
    while index < row.shown.len() {
        bits |= 1 << row.shown[index].0;
        index += 1;
    }
    bits
}

/// A word of which not all is shown.
struct Mask {
    leaf: u32,
    subleaf: u32,
    word: usize,
    bits: u32,
}

/// [`WORDS`] without the names.
const MASKS: [Mask; WORDS.len()] = {
    let mut masks = [const { Mask { leaf: 0, subleaf: 0, word: 0, bits: 0 } }; WORDS.len()];
    let mut index = 0;
    while index < WORDS.len() {
        let row = &WORDS[index];
        // Evaluated when the table is compiled: no entry is without effect.
        assert!(row.word <= EDX);
        masks[index] = Mask { leaf: row.leaf, subleaf: row.subleaf, word: row.word, bits: mask(row) };
        index += 1;
    }
    masks
};

/// The leaves that are the machine's as a whole, a bit each: basic ones and extended ones.
const WHOLE: [u64; 2] = [CPUID_SHOWN_BASIC & !masked(0), CPUID_SHOWN_EXTENDED & !masked(FIRST_EXTENDED)];

/// Those from `first` on of which some is masked.
const fn masked(first: u32) -> u64 {
    let (mut bits, mut index) = (0, 0);
    while index < MASKS.len() {
        if MASKS[index].leaf & FIRST_EXTENDED == first {
            bits |= 1 << (MASKS[index].leaf & !FIRST_EXTENDED);
        }
        index += 1;
    }
    bits
}

/// Whether `leaf` has its bit in a word of bits for the basic leaves, or in one for the extended ones.
const fn is_among(leaves: [u64; 2], leaf: u32) -> bool {
    let number = leaf & !FIRST_EXTENDED;
    let [basic, extended] = leaves;
    number < u64::BITS && (if leaf & FIRST_EXTENDED == 0 { basic } else { extended }) >> number & 1 != 0
}

/// Whether some of a leaf may be hidden. At every CPUID exit: one look into a word of bits.
#[inline]
#[must_use]
pub const fn hides(leaf: u32) -> bool {
    !is_among(WHOLE, leaf)
}

/// Whether a leaf is shown at all, and this sub-leaf of it.
const fn is_shown(leaf: u32, subleaf: u32) -> bool {
    let states = CPUID_SHOWN_D_EAX | CPUID_SHOWN_D_1_ECX;
    is_among([CPUID_SHOWN_BASIC, CPUID_SHOWN_EXTENDED], leaf)
        && match leaf {
            7 => subleaf <= 2,
            0xD => subleaf <= 1 || subleaf < u32::BITS && states >> subleaf & 1 != 0,
            _ => true,
        }
}

/// Whether a guest can execute INVLPGB and TLBSYNC where the kernel lets it, by the machine's answers: a guest's broadcast
/// is about its own ASID, which for the root VM is the same on every processor (AMD64 APM vol. 3, "INVLPGB"; vol. 2,
/// appendix B, offset 090h bit 7).
pub fn has_guest_invlpgb(native: impl Fn(u32, u32) -> Words) -> bool {
    native(ADDRESS_SIZES, 0)[EBX] & INVLPGB != 0 && native(SVM_FEATURES, 0)[EDX] & 1 << 24 != 0
}

/// The machine's answer without what is hidden; `native` gives the machine's answers.
pub fn visible(leaf: u32, subleaf: u32, native: impl Fn(u32, u32) -> Words) -> Words {
    if !is_shown(leaf, subleaf) {
        return [0; 4];
    }
    let mut words = native(leaf, subleaf);
    // Only these have more than one answer with features.
    let subleaf = if matches!(leaf, 7 | 0xD) { subleaf } else { 0 };
    for mask in MASKS.iter().filter(|mask| mask.leaf == leaf && mask.subleaf == subleaf) {
        if let Some(word) = words.get_mut(mask.word) {
            *word &= mask.bits;
        }
    }
    match leaf {
        7 if subleaf == 0 => words[EAX] = words[EAX].min(2),
        7 if subleaf == 2 => words = [0, 0, 0, words[EDX]],
        ADDRESS_SIZES if !has_guest_invlpgb(native) => words[EBX] &= !INVLPGB,
        _ => {}
    }
    words
}

#[cfg(test)]
mod tests;
