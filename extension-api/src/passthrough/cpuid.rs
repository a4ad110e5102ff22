//! CPUID: the machine's own answers, but for the leaves that a hypervisor has to change.
//!
//! CPUID executed here sees this machine with the *host's* CR4, so bits that mirror CR4 are put right. Leaf 0xD,
//! which depends on XCR0, is right as it is: XCR0 is the guest's while the extension runs.

use core::arch::x86_64::__cpuid_count;

use crate::abi::cpuid::{Words, hides, visible};
use crate::abi::{CPUID_SIGNATURE, CPUID_SIGNATURE_LEAF, CPUID_VERSION_LEAF, VERSION, register};
use crate::exit::Exit;
use crate::id::VsId;
use crate::plinth::Plinth;
use crate::resume::Resume;
use crate::root;

/// The leaves that hypervisors own by convention, as many as guests look at.
const HYPERVISOR_FIRST: u32 = CPUID_SIGNATURE_LEAF;
const HYPERVISOR_LAST: u32 = CPUID_SIGNATURE_LEAF + 0xff;

/// Leaf 1 ECX: CR4.OSXSAVE (AMD64 APM vol. 3, E.3.2).
const OSXSAVE: u32 = 1 << 27;
/// Leaf 1 ECX: a hypervisor is present; reserved for it by both vendors.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 7 sub-leaf 0 ECX: CR4.PKE (AMD64 APM vol. 3, E.3.6).
const OSPKE: u32 = 1 << 4;
/// CR4.OSXSAVE and CR4.PKE (AMD64 APM vol. 2, 3.1.3).
const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PKE: u64 = 1 << 22;

/// Answers a CPUID instruction.
#[inline]
pub fn answer(exit: &mut Exit<'_>) -> Resume {
    let (leaf, subleaf) = exit.cpuid_leaf();
    if is_changed(leaf) {
        return answer_changed(exit.reborrow(), leaf, subleaf);
    }
    exit.set_cpuid(native(leaf, subleaf));
    Resume::AdvanceAndRun
}

#[cold]
#[inline(never)]
fn answer_changed(mut exit: Exit<'_>, leaf: u32, subleaf: u32) -> Resume {
    let words = lookup(leaf, subleaf, exit.vs());
    exit.set_cpuid(words);
    Resume::AdvanceAndRun
}

/// The answer that [`answer`] gives to this exit.
pub fn id_value(exit: &Exit<'_>) -> Words {
    let (leaf, subleaf) = exit.cpuid_leaf();
    if is_changed(leaf) { lookup(leaf, subleaf, exit.vs()) } else { native(leaf, subleaf) }
}

/// The answer that [`answer`] gives for a leaf and a sub-leaf, to the VS `vs`.
pub fn lookup(leaf: u32, subleaf: u32, vs: VsId) -> Words {
    let cr4 = || Plinth::opened().vs_read(vs, register::X86_CR4).unwrap_or(0);
    change(leaf, subleaf, native, cr4, root::launched())
}

/// The machine's own answer, as this code sees it.
#[inline]
pub fn native(leaf: u32, subleaf: u32) -> Words {
    let words = __cpuid_count(leaf, subleaf);
    [words.eax, words.ebx, words.ecx, words.edx]
}

/// Whether the guest gets another answer than the machine's.
#[inline]
const fn is_changed(leaf: u32) -> bool {
    hides(leaf) || matches!(leaf, HYPERVISOR_FIRST..=HYPERVISOR_LAST)
}

/// Makes the guest's answer of the machine's.
fn change(
    leaf: u32,
    subleaf: u32,
    native: impl Fn(u32, u32) -> Words,
    cr4: impl FnOnce() -> u64,
    launched: u32,
) -> Words {
    let shown = visible(leaf, subleaf, native);
    let [eax, ebx, ecx, edx] = shown;
    match leaf {
        1 => [eax, ebx, mirror(ecx | HYPERVISOR, OSXSAVE, cr4() & CR4_OSXSAVE != 0), edx],
        7 if subleaf == 0 => [eax, ebx, mirror(ecx, OSPKE, cr4() & CR4_PKE != 0), edx],
        HYPERVISOR_FIRST..=HYPERVISOR_LAST => hypervisor(leaf, launched),
        _ => shown,
    }
}

/// `word` with `bit` as `set` says.
const fn mirror(word: u32, bit: u32, set: bool) -> u32 {
    if set { word | bit } else { word & !bit }
}

/// The hypervisor's own leaves; those without a meaning are zero.
fn hypervisor(leaf: u32, launched: u32) -> Words {
    let [ebx, ecx, edx] = CPUID_SIGNATURE;
    match leaf {
        CPUID_SIGNATURE_LEAF => [CPUID_VERSION_LEAF, ebx, ecx, edx],
        CPUID_VERSION_LEAF => [VERSION as u32, launched, 0, 0],
        _ => [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Words = [u32::MAX; 4];

    fn changed(leaf: u32, native: Words, cr4: u64) -> Words {
        change(leaf, 0, |_, _| native, || cr4, 3)
    }

    #[test]
    fn leaf_1_follows_the_guests_cr4() {
        assert_eq!(changed(1, [0; 4], u64::MAX)[2], HYPERVISOR | OSXSAVE);
        assert_eq!(changed(1, ALL, !CR4_OSXSAVE)[2], visible(1, 0, |_, _| ALL)[2] & !OSXSAVE);
    }

    #[test]
    fn leaf_7_follows_the_guests_cr4_in_subleaf_0() {
        assert_eq!(changed(7, [0; 4], CR4_PKE), [0, 0, OSPKE, 0]);
        assert_eq!(changed(7, ALL, 0)[2], visible(7, 0, |_, _| ALL)[2] & !OSPKE);
        assert_eq!(change(7, 2, |_, _| ALL, || unreachable!(), 0), visible(7, 2, |_, _| ALL));
    }

    #[test]
    fn what_the_root_vm_does_not_get_is_hidden() {
        for leaf in [0x8000_0001, 0x8000_000A, 0x14, 6] {
            assert_eq!(changed(leaf, ALL, 0), visible(leaf, 0, |_, _| ALL));
        }
    }

    #[test]
    fn the_hypervisor_has_its_own_leaves() {
        let [eax, ebx, ecx, edx] = changed(0x4000_0000, ALL, 0);
        assert_eq!(eax, 0x4000_0001);
        assert_eq!([ebx, ecx, edx].map(u32::to_le_bytes).as_flattened(), b"PlinthPlinth");
        assert_eq!(changed(0x4000_0001, ALL, 0), [VERSION as u32, 3, 0, 0]);
        assert_eq!(changed(0x4000_0010, ALL, 0), [0; 4]);
        assert_eq!(changed(0x4000_00FF, ALL, 0), [0; 4]);
    }

    #[test]
    fn everything_else_is_the_machines() {
        for leaf in [0, 2, 0xB, 0x8000_0000, 0x8000_0006] {
            assert!(!is_changed(leaf));
            assert_eq!(changed(leaf, ALL, 0), ALL);
        }
        for leaf in [0x3fff_ffff, 0x4000_0100, u32::MAX] {
            assert!(is_changed(leaf));
            assert_eq!(changed(leaf, ALL, 0), [0; 4], "nobody has looked at it");
        }
    }
}
