//! Features that the processor shows by CPUID and that need a switch in the control structure of a guest. Without the switch
//! an instruction is undefined, or does more than a guest may: so a feature is shown only with it.
//!
//! The kernel and the extension read the same table. A feature that is not in it needs no switch.

use super::Words;

/// EAX, EBX, ECX and EDX, as places in [`Words`].
const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// A bit of a CPUID answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bit {
    /// EAX of the question.
    pub leaf: u32,
    /// ECX of the question; 0 where the leaf has no sub-leaves.
    pub subleaf: u32,
    /// Which word of the answer.
    pub word: usize,
    /// Which bit of it.
    pub number: u32,
}

impl Bit {
    /// Whether it is set in the answers that `native` gives.
    pub fn is_set(&self, native: impl Fn(u32, u32) -> Words) -> bool {
        native(self.leaf, self.subleaf)[self.word] >> self.number & 1 != 0
    }
}

/// The switch of a feature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// The kernel sets none: the feature is hidden.
    Off,
    /// The kernel sets it for the root VM where this bit says that there is one.
    WhereShown(Bit),
    /// A secondary processor-based control of VMX, by its bit. The kernel sets it where it is offered, and Intel's processors
    /// with the feature offer it (Intel SDM vol. 3D, appendix A.3.3).
    SecondaryControl(u32),
}

/// A feature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Feature {
    /// Its name in the manuals.
    pub name: &'static str,
    /// By which bit it is shown.
    pub bit: Bit,
    /// What it needs.
    pub switch: Switch,
}

const fn bit(leaf: u32, subleaf: u32, word: usize, number: u32) -> Bit {
    Bit { leaf, subleaf, word, number }
}

const fn feature(name: &'static str, bit: Bit, switch: Switch) -> Feature {
    Feature { name, bit, switch }
}

/// INVLPGB and TLBSYNC (AMD APM vol. 3, "INVLPGB"; vol. 2, appendix B, offset 090h bit 7): a guest's broadcast is about its own
/// ASID, which for the root VM is the same on every processor.
pub const INVLPGB: Feature =
    feature("INVLPGB", bit(0x8000_0008, 0, EBX, 3), Switch::WhereShown(bit(0x8000_000A, 0, EDX, 24)));

/// The table. By vendor the bits do not meet: where the one has a feature, the other has a reserved 0.
pub const FEATURES: [Feature; 14] = [
    // The virtualization extensions themselves, which are the kernel's.
    feature("VMX", bit(1, 0, ECX, 5), Switch::Off),
    feature("SVM", bit(0x8000_0001, 0, ECX, 2), Switch::Off),
    feature("SKINIT", bit(0x8000_0001, 0, ECX, 12), Switch::Off),
    // GETSEC exits always (Intel SDM vol. 3C, 26.1.2), and is undefined for the root VM.
    feature("SMX", bit(1, 0, ECX, 6), Switch::Off),
    // VM-entry and VM-exit controls that load and save its registers; AMD's VMCB has another switch.
    feature("FRED", bit(7, 1, EAX, 17), Switch::Off),
    // Tertiary processor-based controls.
    feature("MSRLIST", bit(7, 1, EAX, 27), Switch::Off),
    feature("TSE", bit(7, 1, EBX, 1), Switch::Off),
    INVLPGB,
    feature("RDTSCP", bit(0x8000_0001, 0, EDX, 27), Switch::SecondaryControl(3)),
    feature("RDPID", bit(7, 0, ECX, 22), Switch::SecondaryControl(3)),
    feature("INVPCID", bit(7, 0, EBX, 10), Switch::SecondaryControl(12)),
    feature("XSAVES", bit(0xD, 1, EAX, 3), Switch::SecondaryControl(20)),
    feature("WAITPKG", bit(7, 0, ECX, 5), Switch::SecondaryControl(26)),
    feature("PCONFIG", bit(7, 0, EDX, 18), Switch::SecondaryControl(27)),
];

impl Feature {
    /// Whether the root VM can use the feature where the processor shows it, by the answers that `native` gives.
    pub fn is_usable(&self, native: impl Fn(u32, u32) -> Words) -> bool {
        match self.switch {
            Switch::Off => false,
            Switch::WhereShown(bit) => bit.is_set(native),
            Switch::SecondaryControl(_) => true,
        }
    }
}

/// Whether any feature of a leaf may be hidden.
#[inline]
pub const fn has_hidden(leaf: u32) -> bool {
    matches!(leaf, 1 | 7 | 0x8000_0001 | 0x8000_0008)
}

/// The processor's answer to a question, without the features that the root VM cannot use.
pub fn without_unusable(
    leaf: u32,
    subleaf: u32,
    mut words: Words,
    native: impl Fn(u32, u32) -> Words,
) -> Words {
    for feature in FEATURES {
        let Bit { word, number, .. } = feature.bit;
        let asked = feature.bit.leaf == leaf && (leaf != 7 || feature.bit.subleaf == subleaf);
        if asked && !feature.is_usable(&native) {
            words[word] &= !(1 << number);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Words = [u32::MAX; 4];

    fn shown(leaf: u32, subleaf: u32, native: impl Fn(u32, u32) -> Words) -> Words {
        without_unusable(leaf, subleaf, ALL, native)
    }

    #[test]
    fn what_has_no_switch_is_hidden() {
        assert_eq!(shown(1, 0, |_, _| ALL), [u32::MAX, u32::MAX, !0x60, u32::MAX]);
        assert_eq!(shown(0x8000_0001, 0, |_, _| ALL), [u32::MAX, u32::MAX, !0x1004, u32::MAX]);
        assert_eq!(shown(7, 1, |_, _| ALL), [!(1 << 17 | 1 << 27), !2, u32::MAX, u32::MAX]);
    }

    #[test]
    fn what_has_one_is_shown_where_the_switch_is() {
        assert_eq!(shown(0x8000_0008, 0, |_, _| [0; 4])[EBX], !8);
        let with_switch = |leaf, _| if leaf == 0x8000_000A { [0, 0, 0, 1 << 24] } else { [0; 4] };
        assert_eq!(shown(0x8000_0008, 0, with_switch), ALL);
        for (leaf, subleaf) in [(7, 0), (0xD, 1), (7, 2), (0x8000_0021, 0)] {
            assert_eq!(shown(leaf, subleaf, |_, _| [0; 4]), ALL, "leaf {leaf:#x}");
        }
    }

    #[test]
    fn a_leaf_without_sub_leaves_is_the_same_whatever_is_asked() {
        assert_eq!(shown(1, 5, |_, _| ALL), shown(1, 0, |_, _| ALL));
    }

    #[test]
    fn a_leaf_that_is_passed_on_has_nothing_to_hide() {
        for feature in FEATURES {
            let hides = !feature.is_usable(|_, _| [0; 4]);
            assert!(!hides || has_hidden(feature.bit.leaf), "{}", feature.name);
        }
    }
}
