//! Random bits, from whatever the machine has.

use super::firmware;
use core::arch::x86_64::{__cpuid, _rdrand64_step, _rdtsc};
use uefi::proto::rng::Rng;

/// Four random words: from the firmware's generator, else from the processor's; else `None`.
pub(crate) fn random() -> Option<[u64; 4]> {
    from_firmware().or_else(from_processor)
}

/// Bits that only differ from boot to boot, where there are no random ones: good enough to place an
/// image, for nothing else.
pub(crate) fn jitter() -> u64 {
    // SAFETY: RDTSC is part of every x86-64 processor, and firmware runs at CPL 0, where CR4.TSD does not forbid it.
    let ticks = unsafe { _rdtsc() };
    // The low bits vary most: a multiplication by the golden ratio's fraction carries them to the high ones.
    ticks.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

fn from_firmware() -> Option<[u64; 4]> {
    let mut bytes = [0; 32];
    firmware::open_any::<Rng>().ok()?.get_rng(None, &mut bytes).ok()?;
    let (words, _) = bytes.as_chunks::<8>();
    let mut out = [0; 4];
    out.iter_mut().zip(words).for_each(|(to, from)| *to = u64::from_le_bytes(*from));
    Some(out)
}

fn from_processor() -> Option<[u64; 4]> {
    // AMD64 Architecture Programmer's Manual volume 3, CPUID function 1, ECX bit 30; Intel SDM the same.
    const RDRAND: u32 = 1 << 30;
    if __cpuid(1).ecx & RDRAND == 0 {
        return None;
    }
    let mut out = [0; 4];
    for word in &mut out {
        // SAFETY: CPUID just said that the instruction is there.
        *word = unsafe { draw() }?;
    }
    Some(out)
}

/// One word, with the ten attempts that the processor's manual recommends.
///
/// # Safety
/// The processor must have RDRAND.
#[target_feature(enable = "rdrand")]
fn draw() -> Option<u64> {
    let mut word = 0;
    (0..10).any(|_| _rdrand64_step(&mut word) == 1).then_some(word)
}
