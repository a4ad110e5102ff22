//! Guest-virtual to guest-physical, through the guest's own stage 1 (Arm ARM, D8.2 and D8.3): pages of 4 KiB, up to 48
//! bits, as privileged code. Hierarchical permissions are left out: what this serves is a look from outside.

use plinth_hal::{Gpa, GuestAccess, Gva, UnknownTables};

/// The registers that say how a guest translates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage1 {
    /// SCTLR_EL1.
    pub(crate) sctlr: u64,
    /// TCR_EL1.
    pub(crate) tcr: u64,
    /// TTBR0_EL1 and TTBR1_EL1.
    pub(crate) ttbr: [u64; 2],
}

/// SCTLR_EL1.M.
const MMU_ON: u64 = 1;
/// Bits 47:12 of an entry, and 47:1 of a base register.
const ADDRESS: u64 = 0x0000_FFFF_FFFF_F000;
/// AP\[2\]: read only.
const READ_ONLY: u64 = 1 << 7;
/// PXN: privileged code may not execute. In the table above, PXNTable.
const PRIVILEGED_NO_EXECUTE: u64 = 1 << 53;
const TABLE_PRIVILEGED_NO_EXECUTE: u64 = 1 << 59;
/// XN of a regime of one level, and XNTable.
const NO_EXECUTE: u64 = 1 << 54;
const TABLE_NO_EXECUTE: u64 = 1 << 60;
/// APTable\[1\].
const TABLE_READ_ONLY: u64 = 1 << 62;
/// AF: set where an access need not be noted first.
const ACCESSED: u64 = 1 << 10;
/// The bit of an address that picks the table.
const UPPER: u64 = 1 << 55;

/// The last entry of a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    /// Where the address leads.
    pub(crate) leads: Gpa,
    entry: u64,
    /// What is in any of the tables' own entries.
    tables: u64,
}

impl Leaf {
    pub(crate) const fn is_accessed(&self) -> bool {
        self.entry & ACCESSED != 0
    }

    pub(crate) const fn is_writable(&self) -> bool {
        self.entry & READ_ONLY == 0 && self.tables & TABLE_READ_ONLY == 0
    }

    /// Whether code above EL0 may execute it, in a regime that EL0 shares.
    pub(crate) const fn privileged_executes(&self) -> bool {
        self.entry & PRIVILEGED_NO_EXECUTE == 0 && self.tables & TABLE_PRIVILEGED_NO_EXECUTE == 0
    }

    /// Whether EL2 may execute it, in a regime of its own.
    pub(crate) const fn el2_executes(&self) -> bool {
        self.entry & NO_EXECUTE == 0 && self.tables & TABLE_NO_EXECUTE == 0
    }
}

impl Stage1 {
    /// Where `gva` leads; `None` where nothing is mapped or the access is not allowed.
    pub(crate) fn walk(
        &self,
        gva: Gva,
        access: GuestAccess,
        read_entry: impl Fn(Gpa) -> Option<u64>,
    ) -> Result<Option<Gpa>, UnknownTables> {
        if self.sctlr & MMU_ON == 0 {
            return Ok(Some(Gpa::new(gva.raw())));
        }
        let leaf = self.leaf(gva, read_entry)?;
        Ok(leaf.filter(|leaf| allows(leaf.entry, access)).map(|leaf| leaf.leads))
    }

    /// The entry that maps `gva`, with the MMU on; `None` where nothing is mapped.
    pub(crate) fn leaf(
        &self,
        gva: Gva,
        read_entry: impl Fn(Gpa) -> Option<u64>,
    ) -> Result<Option<Leaf>, UnknownTables> {
        let upper = gva.raw() & UPPER != 0;
        let field = self.tcr >> if upper { 16 } else { 0 };
        // TG1 codes 4 KiB as 2, TG0 as 0.
        let granule = field >> 14 & 3;
        if granule != if upper { 2 } else { 0 } {
            return Err(UnknownTables);
        }
        let bits = 64 - (field & 0x3F) as u32;
        if !(25..=48).contains(&bits) {
            return Err(UnknownTables);
        }
        // EPD0 and EPD1 are bit 7 of their halves; the address must lie in the half that the size leaves.
        let disabled = field >> 7 & 1 != 0;
        let sign = (gva.raw() << 8) as i64 >> (8 + bits);
        if disabled || sign != if upper { -1 } else { 0 } {
            return Ok(None);
        }
        let level = 3 - (bits - 13) / 9;
        Ok(descend(gva.raw(), self.ttbr[usize::from(upper)] & ADDRESS, level, read_entry))
    }
}

/// Walks from the table of `level` at `table` down.
fn descend(gva: u64, mut table: u64, first: u32, read_entry: impl Fn(Gpa) -> Option<u64>) -> Option<Leaf> {
    let mut tables = 0;
    for level in first..=3 {
        let shift = 12 + 9 * (3 - level);
        let entry = read_entry(Gpa::new(table + (gva >> shift & 511) * 8))?;
        match (entry & 3, level) {
            (3, 0..3) => {
                tables |= entry;
                table = entry & ADDRESS;
            }
            (3, 3) | (1, 1 | 2) => {
                let inside = (1 << shift) - 1;
                let leads = Gpa::new(entry & ADDRESS & !inside | gva & inside);
                return Some(Leaf { leads, entry, tables });
            }
            _ => return None,
        }
    }
    None
}

fn allows(entry: u64, access: GuestAccess) -> bool {
    match access {
        GuestAccess::Read => true,
        GuestAccess::Write => entry & READ_ONLY == 0,
        GuestAccess::Execute => entry & PRIVILEGED_NO_EXECUTE == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: u64 = 0x1000;

    /// 39 bits in both halves, 4 KiB.
    const TCR: u64 = 25 | 25 << 16 | 2 << 30;

    fn stage1(tcr: u64) -> Stage1 {
        Stage1 { sctlr: MMU_ON, tcr, ttbr: [TABLE, 0x2000] }
    }

    /// A block of 1 GiB at index 2 of the lower table, and a page at the end of the upper half.
    fn entry(at: Gpa) -> Option<u64> {
        match at.raw() {
            0x1010 => Some(0x8000_0000 | READ_ONLY | 1),
            0x2FF8 => Some(0x3003),
            0x3FF8 => Some(0x4003),
            0x4FF8 => Some(0x7003 | PRIVILEGED_NO_EXECUTE),
            _ => Some(0),
        }
    }

    #[test]
    fn blocks_and_pages_in_both_halves() {
        let walk = |gva, access| stage1(TCR).walk(Gva::new(gva), access, entry).unwrap().map(Gpa::raw);
        assert_eq!(walk(0x8012_3456, GuestAccess::Read), Some(0x8012_3456));
        assert_eq!(walk(0x8012_3456, GuestAccess::Write), None);
        assert_eq!(walk(0x4012_3456, GuestAccess::Read), None);
        assert_eq!(walk(!0xFFF + 5, GuestAccess::Write), Some(0x7005));
        assert_eq!(walk(!0xFFF + 5, GuestAccess::Execute), None);
        assert_eq!(walk(1 << 40, GuestAccess::Read), None, "beyond the half");
    }

    #[test]
    fn without_translation_an_address_is_itself_and_other_granules_are_unknown() {
        let off = Stage1 { sctlr: 0, ..stage1(TCR) };
        assert_eq!(off.walk(Gva::new(0x1234), GuestAccess::Write, entry), Ok(Some(Gpa::new(0x1234))));
        let large = stage1(TCR | 1 << 14).walk(Gva::new(0), GuestAccess::Read, entry);
        assert_eq!(large, Err(UnknownTables));
    }
}
