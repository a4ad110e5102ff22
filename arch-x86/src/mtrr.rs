//! The memory types that the firmware has set in the MTRRs.
//!
//! Nested paging on Intel does not look at them: their answer has to stand in the extended page tables (Intel SDM vol.
//! 3A, "Memory Type Range Registers"; vol. 3C, "EPT and Memory Typing").

use plinth_hal::Spa;
use plinth_hal::page_table::MemoryType;

use crate::msr;

const CAPABILITIES: u32 = 0xFE;
const DEFAULT_TYPE: u32 = 0x2FF;
const FIRST_BASE: u32 = 0x200;
/// The most variable ranges that are looked at.
const MAX_RANGES: usize = 16;

/// IA32_MTRR_DEF_TYPE: MTRRs on, fixed ranges on.
const ENABLED: u64 = 1 << 11;
const FIXED_ENABLED: u64 = 1 << 10;
/// IA32_MTRRCAP: there are fixed ranges.
const HAS_FIXED: u64 = 1 << 8;
/// IA32_MTRR_PHYSMASK: the range counts.
const VALID: u64 = 1 << 11;
const PAGE_MASK: u64 = !0xFFF;
/// Where the fixed ranges end.
const FIXED_END: u64 = 1 << 20;

/// The fixed-range MSRs with the first address and the size of each of their eight ranges.
const FIXED: [(u32, u64, u64); 11] = [
    (0x250, 0x0_0000, 0x1_0000),
    (0x258, 0x8_0000, 0x4000),
    (0x259, 0xA_0000, 0x4000),
    (0x268, 0xC_0000, 0x1000),
    (0x269, 0xC_8000, 0x1000),
    (0x26A, 0xD_0000, 0x1000),
    (0x26B, 0xD_8000, 0x1000),
    (0x26C, 0xE_0000, 0x1000),
    (0x26D, 0xE_8000, 0x1000),
    (0x26E, 0xF_0000, 0x1000),
    (0x26F, 0xF_8000, 0x1000),
];

/// The MTRRs of a processor; all processors of a machine have the same.
#[derive(Clone, Copy, Debug)]
pub struct Mtrrs {
    default_type: u64,
    fixed: Option<[u64; 11]>,
    ranges: [(u64, u64); MAX_RANGES],
    count: usize,
    physical_bits: u8,
}

impl Mtrrs {
    /// No MTRRs: all memory is write-back.
    pub const NONE: Self = Self {
        default_type: ENABLED | 6,
        fixed: None,
        ranges: [(0, 0); MAX_RANGES],
        count: 0,
        physical_bits: 52,
    };

    /// Reads those of this processor, which has `physical_bits` of physical address.
    pub fn read(physical_bits: u8) -> Self {
        // SAFETY: every 64-bit processor has MTRRs, and so many variable ranges as the capabilities say.
        let read = |register| unsafe { msr::read(register) };
        let (capabilities, default_type) = (read(CAPABILITIES), read(DEFAULT_TYPE));
        let count = ((capabilities & 0xff) as usize).min(MAX_RANGES);
        let mut ranges = [(0, 0); MAX_RANGES];
        for (index, range) in ranges.iter_mut().take(count).enumerate() {
            let register = FIRST_BASE + 2 * index as u32;
            *range = (read(register), read(register + 1));
        }
        let has_fixed = capabilities & HAS_FIXED != 0 && default_type & FIXED_ENABLED != 0;
        let fixed = has_fixed.then(|| FIXED.map(|(register, ..)| read(register)));
        Self { default_type, fixed, ranges, count, physical_bits }
    }

    /// The memory type at an address, and where the range ends in which it is certainly the same.
    pub fn type_at(&self, at: Spa) -> (MemoryType, Spa) {
        if self.default_type & ENABLED == 0 {
            return (MemoryType::Uncached, Spa::new(u64::MAX));
        }
        self.fixed_type(at.raw()).unwrap_or_else(|| self.variable_type(at.raw()))
    }

    fn fixed_type(&self, at: u64) -> Option<(MemoryType, Spa)> {
        let values = self.fixed.as_ref().filter(|_| at < FIXED_END)?;
        let (index, &(_, start, size)) = FIXED.iter().enumerate().rfind(|(_, (_, start, _))| *start <= at)?;
        let slot = (at - start) / size;
        let end = start + (slot + 1) * size;
        Some((decode(values[index] >> (slot * 8)), Spa::new(end)))
    }

    /// The uncached type wins over all, write-through over write-back ("MTRR Precedences").
    fn variable_type(&self, at: u64) -> (MemoryType, Spa) {
        let mut end = if at < FIXED_END { FIXED_END } else { u64::MAX };
        let mut found: Option<MemoryType> = None;
        for &(base, mask) in self.ranges[..self.count].iter().filter(|(_, mask)| mask & VALID != 0) {
            let (start, size) = self.extent(base, mask);
            if at < start {
                end = end.min(start);
            } else if at - start < size {
                end = end.min(start + size);
                found = Some(found.map_or(decode(base), |other| stronger(other, decode(base))));
            }
        }
        (found.unwrap_or(decode(self.default_type)), Spa::new(end))
    }

    /// Start and size of a variable range. Masks with holes, which no firmware sets, count as their lowest piece.
    fn extent(&self, base: u64, mask: u64) -> (u64, u64) {
        let width = (1u64 << self.physical_bits.min(52)) - 1;
        let mask = mask & PAGE_MASK & width;
        let size = 1u64 << mask.trailing_zeros().min(52);
        (base & mask, size)
    }
}

fn decode(code: u64) -> MemoryType {
    match code & 7 {
        1 => MemoryType::WriteCombining,
        4 => MemoryType::WriteThrough,
        5 => MemoryType::WriteProtected,
        6 => MemoryType::WriteBack,
        _ => MemoryType::Uncached,
    }
}

fn stronger(one: MemoryType, other: MemoryType) -> MemoryType {
    match (one, other) {
        (MemoryType::WriteBack, other) => other,
        (one, MemoryType::WriteBack) => one,
        (one, other) if one == other => one,
        _ => MemoryType::Uncached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mtrrs() -> Mtrrs {
        let mut mtrrs = Mtrrs { default_type: ENABLED | FIXED_ENABLED | 6, physical_bits: 40, ..Mtrrs::NONE };
        mtrrs.fixed = Some(core::array::from_fn(|index| if index == 2 { 0 } else { 0x0606_0606_0606_0606 }));
        mtrrs.ranges[0] = (0xC000_0000, 0xFF_C000_0000 | VALID);
        mtrrs.count = 1;
        mtrrs
    }

    #[test]
    fn the_fixed_ranges_count_below_1_mib() {
        assert_eq!(mtrrs().type_at(Spa::new(0x9_F000)), (MemoryType::WriteBack, Spa::new(0xA_0000)));
        assert_eq!(mtrrs().type_at(Spa::new(0xB_8000)), (MemoryType::Uncached, Spa::new(0xB_C000)));
    }

    #[test]
    fn a_variable_range_ends_the_default_before_it() {
        assert_eq!(mtrrs().type_at(Spa::new(0x10_0000)), (MemoryType::WriteBack, Spa::new(0xC000_0000)));
        assert_eq!(mtrrs().type_at(Spa::new(0xFEE0_0000)), (MemoryType::Uncached, Spa::new(0x1_0000_0000)));
        assert_eq!(mtrrs().type_at(Spa::new(1 << 32)), (MemoryType::WriteBack, Spa::new(u64::MAX)));
    }

    #[test]
    fn without_mtrrs_all_is_uncached() {
        let off = Mtrrs { default_type: 6, ..mtrrs() };
        assert_eq!(off.type_at(Spa::new(0)).0, MemoryType::Uncached);
    }
}
