//! Random bits: what the firmware has left in the device tree, and the counter's.
//!
//! The OS reads the same seed. What is made of it here depends on when it was made too, so that the seed alone does not
//! tell it. Without a seed addresses are only as random as the time of the boot.

/// Four words from `seeds`, and from `tick`, which is to differ from boot to boot and from call to call.
pub fn words<'a>(seeds: impl Iterator<Item = &'a [u8]>, mut tick: impl FnMut() -> u64) -> [u64; 4] {
    let chunks = seeds.flat_map(|seed| seed.chunks(8));
    let mut state = chunks.fold(0, |state, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(state ^ u64::from_le_bytes(word))
    });
    core::array::from_fn(|_| {
        state = mix(state ^ tick());
        state
    })
}

/// Xorshift-multiply (SplitMix64): carries the low bits, which vary most, to all others.
const fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let state = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ state >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ state >> 31
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::collections::BTreeSet;

    fn of(seed: &'static [u8], tick: u64) -> [u64; 4] {
        words([seed].into_iter(), || tick)
    }

    #[test]
    fn each_bit_of_seed_and_clock_changes_every_word() {
        let all = [of(b"", 0), of(b"", 1), of(b"12345678", 0), of(b"12345679", 0), of(b"123456789", 0)];
        let distinct: BTreeSet<_> = all.iter().flatten().collect();
        assert_eq!(distinct.len(), all.len() * 4);
        assert_eq!(of(b"12345678", 7), of(b"12345678", 7));
    }

    #[test]
    fn the_low_bits_which_choose_addresses_are_spread() {
        let low: BTreeSet<_> = (0..1000).map(|tick| of(b"", tick)[0] & 0xFFFF).collect();
        assert!(low.len() > 950, "{}", low.len());
    }
}
