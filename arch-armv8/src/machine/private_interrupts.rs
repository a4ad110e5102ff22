//! The bits of a redistributor's SGI and PPI frame that belong to the hypervisor timer, PPI 26 (Arm IHI 0069, 12.11). A
//! write of the root VM changes all other bits.
//!
//! EL1 has no use for PPI 26, because it cannot reach CNTHP. With these bits writable, a CPU of the root VM could disable
//! the timer's interrupt, its own or another CPU's, and the watchdog and guest deadlines with it.

/// The timer's interrupt (Arm BSA, "PPI assignments").
pub(crate) const PPI: u32 = 26;

/// The value that a write of the root VM gives to a bit of the timer's.
#[derive(Clone, Copy)]
enum Becomes {
    /// The current value of the bit.
    Kept,
    /// Zero: no effect in a register in which only ones set or clear.
    Zero,
}

/// Bits of one byte.
struct Own {
    byte: u64,
    bits: u8,
    becomes: Becomes,
}

/// PPI 26's bit in a register with one bit for each interrupt.
const fn bit(register: u64, becomes: Becomes) -> Own {
    Own { byte: register + (PPI / 8) as u64, bits: 1 << (PPI % 8), becomes }
}

const OWN: [Own; 11] = [
    bit(0x80, Becomes::Kept),  // GICR_IGROUPR0
    bit(0x100, Becomes::Zero), // GICR_ISENABLER0
    bit(0x180, Becomes::Zero), // GICR_ICENABLER0
    bit(0x200, Becomes::Zero), // GICR_ISPENDR0
    bit(0x280, Becomes::Zero), // GICR_ICPENDR0
    bit(0x300, Becomes::Zero), // GICR_ISACTIVER0
    bit(0x380, Becomes::Zero), // GICR_ICACTIVER0
    // GICR_IPRIORITYR6
    Own { byte: 0x400 + PPI as u64, bits: 0xFF, becomes: Becomes::Kept },
    // GICR_ICFGR1, two bits for each
    Own { byte: 0xC04 + (PPI as u64 - 16) / 4, bits: 3 << (PPI % 4 * 2), becomes: Becomes::Kept },
    bit(0xD00, Becomes::Kept), // GICR_IGRPMODR0
    bit(0xF80, Becomes::Kept), // GICR_INMIR0
];

/// The value to write instead of the root VM's, for a write of `size` bytes at `offset`. `word` reads the aligned word at an
/// offset, and returns `None` where no device answers; then the write is not possible either.
pub(crate) fn without_own(
    offset: u64,
    size: u64,
    value: u64,
    word: impl Fn(u64) -> Option<u32>,
) -> Option<u64> {
    let mut value = value;
    for Own { byte, bits, becomes } in OWN {
        let Some(place) = byte.checked_sub(offset).filter(|place| *place < size) else { continue };
        let shift = (place as u32).wrapping_mul(8);
        let bits_there = u64::from(bits).unbounded_shl(shift);
        let now = match becomes {
            Becomes::Zero => 0,
            Becomes::Kept => u64::from(word(byte & !3)? >> (byte % 4 * 8)).unbounded_shl(shift),
        };
        value = value & !bits_there | now & bits_there;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONES: u64 = u64::MAX;

    #[test]
    fn the_bit_of_the_timer_is_neither_set_nor_cleared() {
        for register in [0x100, 0x180, 0x200, 0x280, 0x300, 0x380] {
            let word = |value| without_own(register, 4, value, |_| None);
            assert_eq!(word(ONES & 0xFFFF_FFFF), Some(0xFBFF_FFFF), "{register:#x}");
            assert_eq!(word(0x0800_0001), Some(0x0800_0001));
            assert_eq!(without_own(register + 3, 1, 0xFF, |_| None), Some(0xFB), "a byte of it");
            assert_eq!(
                without_own(register - 4, 8, ONES, |_| None),
                Some(0xFBFF_FFFF_FFFF_FFFF),
                "with the one before"
            );
            assert_eq!(without_own(register + 4, 4, ONES, |_| None), Some(ONES), "the one behind");
        }
    }

    #[test]
    fn what_is_configured_stays() {
        for (register, bits) in
            [(0x80, 1 << 26), (0x418, 0xFF << 16), (0xC04, 3 << 20), (0xD00, 1 << 26), (0xF80, 1 << 26)]
        {
            let written = |value: u64, now: u32| {
                without_own(register, 4, value, |at| (at == register).then_some(now)).unwrap()
            };
            assert_eq!(written(0xFFFF_FFFF, 0), 0xFFFF_FFFF & !bits, "{register:#x}");
            assert_eq!(written(0, u32::MAX), bits, "{register:#x}");
            assert_eq!(without_own(register, 4, 0, |_| None), None, "what cannot be read is not written");
        }
        assert_eq!(without_own(0x41A, 1, 0x50, |_| Some(0x1122_3344)), Some(0x22), "the priority alone");
        assert_eq!(without_own(0x41B, 1, 0x50, |_| Some(0x1122_3344)), Some(0x50), "that of another one");
    }
}
