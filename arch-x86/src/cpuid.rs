//! CPUID as the kernel answers it: from declared answers, or as the bare machine without its virtualization
//! extension.

use core::arch::x86_64::__cpuid_count;

use plinth_extension_api::abi::cpuid::visible;
use plinth_hal::IdPolicy;

/// Leaf 1 ECX: the OS has set CR4.OSXSAVE.
const OSXSAVE: u32 = 1 << 27;
const CR4_OSXSAVE: u64 = 1 << 18;
/// Leaf 7 ECX: the OS has set CR4.PKE.
const OSPKE: u32 = 1 << 4;
const CR4_PKE: u64 = 1 << 22;

/// EAX, EBX, ECX and EDX of this processor.
pub fn native(leaf: u32, subleaf: u32) -> [u32; 4] {
    let result = __cpuid_count(leaf, subleaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// The declared answer for a leaf, if there is one.
#[inline]
pub fn declared(policy: &IdPolicy, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
    let answer = policy.find(leaf, subleaf)?;
    let native = if answer.keep == [0; 4] { [0; 4] } else { native(leaf, subleaf) };
    Some(core::array::from_fn(|index| native[index] & answer.keep[index] | answer.set[index]))
}

/// What a guest with this CR4 gets on the bare machine, but for what is hidden from the root VM.
pub fn without_virtualization(leaf: u32, subleaf: u32, cr4: u64) -> [u32; 4] {
    let [eax, ebx, ecx, edx] = visible(leaf, subleaf, native);
    match leaf {
        1 => [eax, ebx, mirror(ecx, OSXSAVE, cr4 & CR4_OSXSAVE != 0), edx],
        7 if subleaf == 0 => [eax, ebx, mirror(ecx, OSPKE, cr4 & CR4_PKE != 0), edx],
        _ => [eax, ebx, ecx, edx],
    }
}

const fn mirror(word: u32, bit: u32, set: bool) -> u32 {
    if set { word | bit } else { word & !bit }
}
