//! The table by itself, and against every real processor on record.

use super::leaves::HIDDEN_LEAVES;
use super::*;

const ALL: Words = [u32::MAX; 4];

/// What is shown of a machine that has everything.
fn of_all(leaf: u32, subleaf: u32) -> Words {
    visible(leaf, subleaf, |_, _| ALL)
}

#[test]
fn what_hides_something_says_so() {
    for leaf in (0..0x80).chain(0x4000_0000..0x4000_0100).chain(0x8000_0000..0x8000_0080) {
        let changes = (0..0x40).any(|subleaf| {
            let alone = visible(leaf, subleaf, |asked, _| if asked == leaf { ALL } else { [0; 4] });
            alone != ALL || of_all(leaf, subleaf) != ALL
        });
        assert_eq!(hides(leaf), changes, "{leaf:#x}");
    }
}

#[test]
fn no_bit_is_decided_twice_and_each_says_what_it_is() {
    for row in WORDS {
        let at = (row.leaf, row.subleaf, row.word);
        let shown = row.shown.iter().map(|(bit, name)| (*bit, *name, "shown"));
        let mut seen = 0_u32;
        for (bit, name, reason) in shown.chain(row.hidden.iter().copied()) {
            assert_eq!(seen >> bit & 1, 0, "{at:x?}: bit {bit}");
            assert!(!name.is_empty() && !reason.is_empty(), "{at:x?}: bit {bit}");
            seen |= 1 << bit;
        }
        assert!(is_shown(row.leaf, row.subleaf), "{at:x?}");
    }
    for (index, row) in WORDS.iter().enumerate() {
        let same =
            |other: &&Word| (other.leaf, other.subleaf, other.word) == (row.leaf, row.subleaf, row.word);
        assert_eq!(WORDS.iter().position(|other| same(&other)), Some(index));
    }
    assert!(HIDDEN_LEAVES.iter().all(|(leaf, _)| of_all(*leaf, 0) == [0; 4]));
}

#[test]
fn the_virtualization_extensions_are_hidden() {
    assert_eq!(of_all(1, 0)[ECX] & (1 << 5), 0, "VMX");
    assert_eq!(of_all(0x8000_0001, 0)[ECX] & 0x1004, 0, "SVM, SKINIT");
    assert_eq!(of_all(0x8000_000A, 0), [0; 4]);
    assert_eq!(of_all(0x8000_001F, 0), [1 | 1 << 10, u32::MAX, 0, 0]);
}

#[test]
fn what_writes_memory_by_itself_is_hidden() {
    assert_eq!(of_all(1, 0)[EDX] & (1 << 21), 0, "debug store");
    assert_eq!(of_all(6, 0)[EAX] & (1 << 19), 0, "hardware feedback");
    assert_eq!(of_all(6, 0)[EDX], 0, "what it offers");
    assert_eq!(of_all(7, 0)[EBX] & (1 << 25), 0, "processor trace");
    assert_eq!(of_all(0xD, 1)[ECX] & 0x8100, 0, "and its component of XSAVES");
    assert_eq!(of_all(0xD, 8), [0; 4]);
    assert_eq!(of_all(0xD, 2), ALL);
    assert_eq!(of_all(0x14, 1), [0; 4]);
}

#[test]
fn what_needs_a_switch_that_the_kernel_does_not_set_is_hidden() {
    assert_eq!(of_all(7, 1)[EAX] & (1 << 8 | 1 << 17 | 1 << 27), 0);
    assert_eq!(of_all(7, 1)[EBX] & 2, 0);
    let without_switch = |leaf, _| if leaf == 0x8000_0008 { ALL } else { [0; 4] };
    assert_eq!(visible(0x8000_0008, 0, without_switch)[EBX] & INVLPGB, 0);
    assert_eq!(of_all(0x8000_0008, 0)[EBX] & INVLPGB, INVLPGB);
}

#[test]
fn what_the_table_does_not_have_is_hidden() {
    assert_eq!(of_all(7, 0)[ECX] & (1 << 15 | 1 << 26), 0, "bits");
    assert_eq!(of_all(7, 0)[EAX], 2, "sub-leaves");
    for (leaf, subleaf) in
        [(7, 3), (0xD, 20), (0xD, 40), (0x2A, 0), (0x3F, 0), (0x8000_0030, 0), (u32::MAX, 0)]
    {
        assert_eq!(of_all(leaf, subleaf), [0; 4], "{leaf:#x}");
    }
}

#[test]
fn a_leaf_without_sub_leaves_is_the_same_whatever_is_asked() {
    assert_eq!(of_all(1, 5), of_all(1, 0));
    assert_eq!(of_all(0x8000_0021, 5), of_all(0x8000_0021, 0));
}

/// Bits that real processors set and no manual names: hidden.
const NAMELESS: [(u32, u32, usize, u32); 5] = [
    (6, 0, ECX, 0xFF00), // classes of the thread director
    (0x8000_0001, 0, ECX, 1 << 25 | 1 << 31),
    (0x8000_0008, 0, EBX, 1 << 5 | 1 << 7 | 1 << 10 | 1 << 11),
    (0x8000_001F, 0, EAX, 0xFFFE_0000),
    (0x8000_0021, 0, EAX, 1 << 14 | 1 << 19),
];

#[test]
#[cfg_attr(miri, ignore = "it reads files")]
fn every_feature_of_a_real_processor_has_been_looked_at() {
    for processor in plinth_machines::processors() {
        for row in WORDS {
            let hidden = row.hidden.iter().fold(0, |bits, (bit, ..)| bits | 1 << bit);
            let nameless = NAMELESS
                .iter()
                .filter(|(leaf, subleaf, word, _)| {
                    (*leaf, *subleaf, *word) == (row.leaf, row.subleaf, row.word)
                })
                .fold(0, |bits, (.., more)| bits | more);
            let has = processor.cpuid(row.leaf, row.subleaf)[row.word];
            let new = has & !(mask(row) | hidden | nameless);
            let at = (row.leaf, row.subleaf, row.word);
            assert!(new == 0 || row.shown.is_empty(), "{}: {at:x?} has {new:#x}", processor.name);
        }
        for (leaf, subleaf) in processor.questions().filter(|(leaf, _)| leaf & 0x7FFF_0000 == 0) {
            let known = is_among([CPUID_SHOWN_BASIC, CPUID_SHOWN_EXTENDED], leaf)
                || HIDDEN_LEAVES.iter().any(|(hidden, _)| *hidden == leaf);
            let tells = processor.cpuid(leaf, subleaf) != [0; 4];
            assert!(known || !tells, "{}: leaf {leaf:#x}", processor.name);
        }
    }
}
