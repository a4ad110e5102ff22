//! Random bits: from the processor where it has RDRAND, else from its clock.

use x86_64::instructions::random::RdRand;

use super::serial::say;

/// Four words. Those of a clock differ from boot to boot and no more: good enough to spread addresses, and the log says so.
pub(super) fn words() -> [u64; 4] {
    if let Some(words) = random() {
        return words;
    }
    say(format_args!("this processor has no RDRAND: addresses are only as random as the time of the boot"));
    let mut state = 0;
    core::array::from_fn(|_| {
        // SAFETY: every 64-bit processor has RDTSC, and nothing forbids it at privilege level 0.
        state ^= unsafe { core::arch::x86_64::_rdtsc() };
        // Xorshift-multiply (SplitMix64's finalizer): carries the low bits, which vary most, to all others.
        state = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state = (state ^ state >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        state ^ state >> 31
    })
}

fn random() -> Option<[u64; 4]> {
    /// How often the processor is asked for a word (Intel SDM vol. 1, "RDRAND").
    const TRIES: usize = 10;
    let generator = RdRand::new()?;
    let mut words = [0; 4];
    for word in &mut words {
        *word = (0..TRIES).find_map(|_| generator.get_u64())?;
    }
    Some(words)
}
