//! The memory types that the firmware or the OS has set in the MTRRs.
//!
//! With EPT the processor ignores the MTRRs for a guest's accesses. The kernel therefore computes the type of
//! each page from the MTRRs and writes it into the EPT entries (Intel SDM vol. 3A, "Memory Type Range
//! Registers"; vol. 3C, "EPT and Memory Typing").

use plinth_hal::page_table::MemoryType;
use plinth_hal::{HostFault, Spa, SpaRange};

use crate::exit_registers::NumberedWrite;
use crate::msr;

const CAPABILITIES: u32 = 0xFE;
const DEFAULT_TYPE: u32 = 0x2FF;
const FIRST_BASE: u32 = 0x200;
/// The number of variable ranges that the kernel supports; further ones are ignored.
const MAX_RANGES: usize = 16;
/// The maximum number of pieces of one memory type each that the kernel walks. The fixed ranges and the
/// bounds of the variable ranges make 121 pieces. Firmware that leaves the highest bits of a mask clear
/// repeats each range some times at higher addresses. A mask with many clear bits in the middle makes up to
/// 2^40 pieces, too many to walk.
const MAX_PIECES: usize = 4096;

/// IA32_MTRR_DEF_TYPE: MTRRs on, fixed ranges on.
const ENABLED: u64 = 1 << 11;
const FIXED_ENABLED: u64 = 1 << 10;
/// IA32_MTRRCAP: there are fixed ranges.
const HAS_FIXED: u64 = 1 << 8;
/// IA32_MTRR_PHYSMASK: the range is enabled.
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

/// The MSR numbers of all MTRRs that a processor may have: variable ranges, fixed ranges, default type.
pub fn registers() -> impl Iterator<Item = u32> {
    let variable = FIRST_BASE..FIRST_BASE + 2 * MAX_RANGES as u32;
    variable.chain(FIXED.iter().map(|(register, ..)| *register)).chain([DEFAULT_TYPE])
}

/// The index of an MTRR in [`registers`].
pub fn place(register: u32) -> Option<usize> {
    registers().position(|mtrr| mtrr == register)
}

/// A write of an MTRR. [`Self::new`] has checked the register's number, and the copy here cannot change after
/// the check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MtrrWrite {
    register: u32,
    value: u64,
}

impl MtrrWrite {
    /// Checks a write of an MSR; `None` if the MSR is not an MTRR.
    pub fn new(NumberedWrite { register, value }: NumberedWrite) -> Option<Self> {
        place(register).map(|_| Self { register, value })
    }

    /// The MTRR's MSR number.
    pub fn register(&self) -> u32 {
        self.register
    }

    /// Whether the write redirects accesses to the first MiB between memory and MMIO: it changes RdMem or
    /// WrMem, bits 4 and 3 of each byte of a fixed-range MTRR (AMD APM vol. 2, 7.9.1). Intel reserves the
    /// bits.
    pub fn redirects(&self, current: &Mtrrs) -> bool {
        const READ_AND_WRITE_MEMORY: u64 = 0x1818_1818_1818_1818;
        let place = FIXED.iter().position(|(register, ..)| *register == self.register);
        place.is_some_and(|place| (current.fixed[place] ^ self.value) & READ_AND_WRITE_MEMORY != 0)
    }

    /// Performs the write on this processor. Returns the write that restores the earlier value.
    ///
    /// # Errors
    /// [`HostFault`] if the processor refuses the value.
    ///
    /// # Safety
    /// The hypervisor's own memory keeps a memory type with which the kernel can run.
    pub unsafe fn carry_out(self) -> Result<Self, HostFault> {
        let value = msr::read_guarded(self.register)?;
        // SAFETY: an MTRR changes how memory is cached, not its contents; the rest is the caller's promise.
        unsafe { msr::write_guarded(self.register, self.value) }?;
        Ok(Self { value, ..self })
    }
}

/// The values of a processor's MTRRs. All processors of a machine must have the same values (Intel SDM vol.
/// 3A, "MTRR Considerations in MP Systems").
#[derive(Clone, Copy, Debug)]
pub struct Mtrrs {
    default_type: u64,
    has_fixed: bool,
    fixed: [u64; FIXED.len()],
    ranges: [(u64, u64); MAX_RANGES],
    count: usize,
    physical_bits: u8,
}

impl Mtrrs {
    /// No MTRRs: all memory is write-back.
    pub const NONE: Self = Self {
        default_type: ENABLED | 6,
        has_fixed: false,
        fixed: [0; FIXED.len()],
        ranges: [(0, 0); MAX_RANGES],
        count: 0,
        physical_bits: 52,
    };

    /// Reads the MTRRs of this processor, whose physical addresses have `physical_bits` bits.
    pub fn read(physical_bits: u8) -> Self {
        // SAFETY: every 64-bit processor has MTRRs, and IA32_MTRRCAP tells the number of variable ranges.
        // Reading changes nothing.
        let read = |register| unsafe { msr::read(register) };
        let (capabilities, default_type) = (read(CAPABILITIES), read(DEFAULT_TYPE));
        let count = ((capabilities & 0xff) as usize).min(MAX_RANGES);
        let mut ranges = [(0, 0); MAX_RANGES];
        for (index, range) in ranges.iter_mut().take(count).enumerate() {
            let register = FIRST_BASE + 2 * index as u32;
            *range = (read(register), read(register + 1));
        }
        let has_fixed = capabilities & HAS_FIXED != 0;
        let fixed = if has_fixed { FIXED.map(|(register, ..)| read(register)) } else { [0; FIXED.len()] };
        Self { default_type, has_fixed, fixed, ranges, count, physical_bits }
    }

    /// The MTRRs after a write.
    #[must_use]
    pub fn with(mut self, MtrrWrite { register, value }: MtrrWrite) -> Self {
        if register == DEFAULT_TYPE {
            self.default_type = value;
        } else if let Some(index) = FIXED.iter().position(|(fixed, ..)| *fixed == register) {
            self.fixed[index] = value;
        } else if let Some(offset) = register.checked_sub(FIRST_BASE)
            && let Some((base, mask)) = self.ranges.iter_mut().take(self.count).nth(offset as usize / 2)
        {
            *(if offset % 2 == 0 { base } else { mask }) = value;
        }
        self
    }

    /// Whether the MTRRs are enabled. Software disables them to change them; all memory is uncached
    /// meanwhile.
    pub fn are_on(&self) -> bool {
        self.default_type & ENABLED != 0
    }

    /// Whether the MTRRs cut memory into more than [`MAX_PIECES`] pieces. The nested tables must not follow
    /// such MTRRs.
    pub fn are_scattered(&self) -> bool {
        let (mut at, end) = (Spa::new(0), self.end());
        for _ in 0..MAX_PIECES {
            at = self.type_at(at).1;
            if at >= end {
                return false;
            }
        }
        true
    }

    fn end(&self) -> Spa {
        Spa::new(1 << self.physical_bits.min(52))
    }

    /// Whether all memory has the same types by `self` and by `other`. Neither may be
    /// [scattered](Self::are_scattered).
    pub fn same_types(&self, other: &Self) -> bool {
        self.holds(SpaRange::new(Spa::new(0), self.end().raw()), |at| other.type_at(at))
    }

    /// Whether `range` has the same types by `self` and by `other`, or is all write-back by `self`.
    pub fn keeps(&self, range: SpaRange, other: &Self) -> bool {
        self.holds(range, |at| other.type_at(at))
            || self.holds(range, |_| (MemoryType::WriteBack, Spa::new(u64::MAX)))
    }

    /// Whether `range` has the types of `wanted`, which returns the type at an address and where that type
    /// may end.
    fn holds(&self, range: SpaRange, wanted: impl Fn(Spa) -> (MemoryType, Spa)) -> bool {
        let mut at = range.start;
        while at < range.end() {
            let ((own, own_end), (other, other_end)) = (self.type_at(at), wanted(at));
            if own != other {
                return false;
            }
            at = own_end.min(other_end);
        }
        true
    }

    /// The memory type at an address, and the end of a range that has the same type throughout.
    pub fn type_at(&self, at: Spa) -> (MemoryType, Spa) {
        if !self.are_on() {
            return (MemoryType::Uncached, Spa::new(u64::MAX));
        }
        self.fixed_type(at.raw()).unwrap_or_else(|| self.variable_type(at.raw()))
    }

    fn fixed_type(&self, at: u64) -> Option<(MemoryType, Spa)> {
        if at >= FIXED_END || !self.has_fixed || self.default_type & FIXED_ENABLED == 0 {
            return None;
        }
        let mut registers = FIXED.iter().rev().zip(self.fixed.iter().rev());
        let (&(_, start, size), types) = registers.find(|((_, start, _), _)| *start <= at)?;
        let slot = at.checked_sub(start)?.checked_div(size)? as usize;
        Some((decode(u64::from(*types.to_le_bytes().get(slot)?)), Spa::new(next_multiple(size, at))))
    }

    /// The type by the variable ranges. Where ranges overlap, uncached takes precedence over all types, and
    /// write-through over write-back (Intel SDM vol. 3A, "MTRR Precedences").
    fn variable_type(&self, at: u64) -> (MemoryType, Spa) {
        let mut end = if at < FIXED_END { FIXED_END } else { u64::MAX };
        let mut found: Option<MemoryType> = None;
        for &(base, mask) in self.ranges.iter().take(self.count).filter(|(_, mask)| mask & VALID != 0) {
            let (inside, until) = self.piece(base, mask, at);
            end = end.min(until);
            if inside {
                found = Some(found.map_or(decode(base), |other| stronger(other, decode(base))));
            }
        }
        (found.unwrap_or(decode(self.default_type)), Spa::new(end))
    }

    /// Whether an address is inside a variable range, and the address up to which the answer stays the same.
    /// Clear bits in the middle of a mask cut the range into pieces; the mask's lowest set bit is the size of
    /// a piece.
    fn piece(&self, base: u64, mask: u64, at: u64) -> (bool, u64) {
        let width = self.end().raw() - 1;
        let mask = mask & PAGE_MASK & width;
        let size = 1u64 << mask.trailing_zeros().min(52);
        if (at ^ base) & mask == 0 {
            return (true, next_multiple(size, at));
        }
        (false, next_inside(base & mask, mask, at).filter(|next| *next <= width).unwrap_or(u64::MAX))
    }
}

/// The first multiple of `size`, a power of two, above `at`.
const fn next_multiple(size: u64, at: u64) -> u64 {
    (at | size.wrapping_sub(1)).saturating_add(1)
}

/// The first address above `at` that equals `base` in all bits of `mask`; `at` itself differs there.
fn next_inside(base: u64, mask: u64, at: u64) -> Option<u64> {
    let highest_wrong = 1u64 << ((at ^ base) & mask).checked_ilog2()?;
    // The bit that changes from 0 to 1: the highest wrong bit, if it has to be 1; else the next higher bit
    // outside of the mask. All bits below it are then free to take their smallest valid values.
    let rising = if base & highest_wrong != 0 {
        highest_wrong
    } else {
        let free = !mask & !at & !(highest_wrong | (highest_wrong - 1));
        free & free.wrapping_neg()
    };
    if rising == 0 {
        return None;
    }
    Some(at & !(rising | (rising - 1)) | rising | base & (rising - 1))
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

    impl Mtrrs {
        fn after(self, register: u32, value: u64) -> Self {
            MtrrWrite::new(NumberedWrite { register, value }).map_or(self, |write| self.with(write))
        }
    }

    #[test]
    fn only_an_mtrr_is_written_as_one() {
        let write = |register| MtrrWrite::new(NumberedWrite { register, value: 0 });
        for register in [0x10, 0xFE, 0x220, 0x277, 0x600, 0xC000_0080, 0xC000_0102, 0xC000_0103] {
            assert_eq!(write(register), None, "{register:#x}");
        }
        assert!(
            registers().all(|register| write(register).is_some_and(|write| write.register() == register))
        );
    }

    fn mtrrs() -> Mtrrs {
        let mut mtrrs = Mtrrs { default_type: ENABLED | FIXED_ENABLED | 6, physical_bits: 40, ..Mtrrs::NONE };
        mtrrs.has_fixed = true;
        mtrrs.fixed = core::array::from_fn(|index| if index == 2 { 0 } else { 0x0606_0606_0606_0606 });
        mtrrs.ranges[0] = (0xC000_0000, 0xFF_C000_0000 | VALID);
        mtrrs.count = 2;
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
    fn what_is_written_counts_where_there_is_such_a_register() {
        let write_combining = mtrrs().after(0x202, 0x8000_0001).after(0x203, 0xFF_F000_0000 | VALID);
        assert_eq!(write_combining.type_at(Spa::new(0x8800_0000)).0, MemoryType::WriteCombining);
        assert!(!write_combining.same_types(&mtrrs()));
        assert!(mtrrs().after(0x202, 0x8000_0001).same_types(&mtrrs()), "the range does not count");
        assert!(mtrrs().after(0x204, 0).after(0x205, VALID).same_types(&mtrrs()), "there is no third range");
        assert_eq!(mtrrs().after(0x268, 0).type_at(Spa::new(0xC_7000)).0, MemoryType::Uncached);
        assert!(!mtrrs().after(DEFAULT_TYPE, 6).are_on());
        let without_fixed = mtrrs().after(DEFAULT_TYPE, ENABLED | 6);
        assert_eq!(without_fixed.type_at(Spa::new(0xA_0000)).0, MemoryType::WriteBack);
    }

    #[test]
    fn types_are_compared_and_not_registers() {
        let two = mtrrs().after(0x201, 0xFF_E000_0000 | VALID);
        assert!(!two.same_types(&mtrrs()));
        let two = two.after(0x202, 0xE000_0000).after(0x203, 0xFF_E000_0000 | VALID);
        assert!(two.same_types(&mtrrs()));
    }

    #[test]
    fn memory_keeps_its_type_or_is_write_back() {
        let range = |start: u64| SpaRange::new(Spa::new(start), 0x200_0000);
        let combining = mtrrs().after(0x202, 0x1000_0001).after(0x203, 0xFF_F000_0000 | VALID);
        assert!(!combining.keeps(range(0x0F00_0000), &mtrrs()));
        assert!(combining.keeps(range(0x0E00_0000), &mtrrs()));
        assert!(mtrrs().keeps(range(0x1000_0000), &combining), "it is write-back again");
        assert!(combining.keeps(range(0x1000_0000), &combining));
        assert!(mtrrs().keeps(range(0xC000_0000), &mtrrs()), "it was uncached before");
    }

    #[test]
    fn a_mask_with_holes_is_many_pieces() {
        let holes = mtrrs().after(0x202, 1).after(0x203, 0x1000_0000 | VALID);
        let type_at = |at| holes.type_at(Spa::new(at)).0;
        assert_eq!(type_at(0x0FFF_F000), MemoryType::WriteCombining);
        assert_eq!(holes.type_at(Spa::new(0x1000_0000)), (MemoryType::WriteBack, Spa::new(0x2000_0000)));
        assert_eq!(type_at(0x2000_0000), MemoryType::WriteCombining);
    }

    #[test]
    fn a_piece_ends_where_the_type_does() {
        // Every address of 2^20 pages by the definition, against the pieces that a walk finds.
        let mask_of = |bits: u64| bits << 12 | VALID;
        for (base, bits) in
            [(0, 0xFFFFF), (0x5000, 0xFFFFF), (0x3000, 0x00F0F), (0x8_0000, 0x7FFC0), (0, 1), (7, 0x80001)]
        {
            let few = Mtrrs { default_type: ENABLED | 6, physical_bits: 32, count: 2, ..Mtrrs::NONE };
            let few = few.after(0x200, base).after(0x201, mask_of(bits));
            let (mut at, mut pages) = (0u64, 0);
            while at < 1 << 32 {
                let (kind, end) = few.type_at(Spa::new(at));
                let end = end.raw().min(1 << 32);
                for page in (at..end).step_by(4096) {
                    let inside = (page ^ base) & (bits << 12) == 0;
                    assert_eq!(kind == MemoryType::Uncached, inside, "{page:#x} by {base:#x}, {bits:#x}");
                    pages += 1;
                }
                at = end;
            }
            assert_eq!(pages, 1 << 20);
        }
    }

    #[test]
    fn memory_in_too_many_pieces_is_found_at_once() {
        let wide = Mtrrs { physical_bits: 46, ..mtrrs() };
        // One bit of a page, and the highest one: 2^33 pieces.
        let scattered = wide.after(0x202, 6).after(0x203, 1 << 45 | 0x1000 | VALID);
        assert!(scattered.are_scattered());
        // The same type as around it: no type differs, and yet nobody may walk it.
        assert!(wide.after(0x202, 6).after(0x203, 0x1000 | VALID).are_scattered());
        assert!(!wide.are_scattered());
        assert!(!Mtrrs { physical_bits: 52, ..Mtrrs::NONE }.are_scattered());
        // A mask of 36 bits on a processor with 39.
        let forgotten = Mtrrs { physical_bits: 39, ..mtrrs() };
        assert!(!forgotten.after(0x200, 0xC000_0000).after(0x201, 0xF_C000_0000 | VALID).are_scattered());
        // All ranges, as apart as they can be.
        let mut all = Mtrrs { count: MAX_RANGES, ..wide };
        for index in 0..MAX_RANGES as u32 {
            let base = u64::from(index) << 32 | 0x1000;
            all = all.after(0x200 + 2 * index, base).after(0x201 + 2 * index, 0x3FFF_FFFF_F000 | VALID);
        }
        assert!(!all.are_scattered());
    }

    #[test]
    fn the_first_mib_is_not_redirected() {
        let write = |register, value| MtrrWrite::new(NumberedWrite { register, value }).unwrap();
        let current = mtrrs();
        assert!(!write(0x268, 0x0505_0505_0505_0505).redirects(&current), "only the type changes");
        assert!(write(0x268, 0x0606_0606_0606_061E).redirects(&current));
        assert!(write(0x250, 0x0E06_0606_0606_0606).redirects(&current));
        assert!(!write(0x200, 0x18).redirects(&current), "no fixed range");
    }

    #[test]
    fn every_register_has_its_place() {
        assert_eq!(
            (place(0x200), place(0x21F), place(0x250), place(DEFAULT_TYPE)),
            (Some(0), Some(31), Some(32), Some(43))
        );
        assert_eq!((place(0x220), place(0x277), place(CAPABILITIES)), (None, None, None));
        assert!(registers().enumerate().all(|(index, register)| place(register) == Some(index)));
    }

    #[test]
    fn without_mtrrs_all_is_uncached() {
        let off = Mtrrs { default_type: 6, ..mtrrs() };
        assert_eq!(off.type_at(Spa::new(0)).0, MemoryType::Uncached);
    }
}
