//! Converts the translation registers of EL2 to EL1's and back: firmware at EL2 continues one level below at the same
//! addresses, and gets EL2 again when it stops Plinth.
//!
//! Two bits of each descriptor have a different meaning for EL1 than for EL2, so what EL2 must not write or execute, EL1
//! may. And where AP\[1\] allows EL0 to write, a bit that EL2 ignores, EL1 does not execute (Arm ARM, D8.4): a loader leaves
//! that bit 0.

use plinth_hal::{Gpa, Gva, Spa};

use crate::paging::guest_walk::{Leaf, Stage1};
use crate::trap_config::SCTLR_RESET;

/// The registers, of either level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    pub(crate) mair: u64,
    pub(crate) tcr: u64,
    pub(crate) ttbr: u64,
    pub(crate) sctlr: u64,
    pub(crate) vbar: u64,
}

/// SCTLR.M.
const MMU_ON: u64 = 1 << 0;
/// SCTLR.WXN.
const WRITABLE_IS_DATA: u64 = 1 << 19;
/// M, A, C, SA, I and WXN mean the same at both levels (Arm ARM, SCTLR_EL1 and SCTLR_EL2).
const COMMON: u64 = MMU_ON | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 12 | WRITABLE_IS_DATA;
/// TCR_EL1.EPD1: the upper half of the addresses has no tables.
const NO_UPPER: u64 = 1 << 23;
/// T1SZ, A1, EPD1, IRGN1, ORGN1, SH1 and TG1: all of the upper half.
const UPPER: u64 = 0xFFFF << 16;
/// T0SZ, IRGN0, ORGN0, SH0 and TG0, which are in the same place at both levels.
const LOWER: u64 = 0xFF3F;
/// PS, TBI, HA and HD of TCR_EL2.
const MOVED: u64 = 7 << 16 | 1 << 20 | 3 << 21;
/// TTBR0_EL1.ASID.
const ASID: u64 = 0xFFFF << 48;

impl Translation {
    /// EL2's as EL1 has it; `None` with the MMU off. With `is_shared` EL2 has the EL2&0 regime, in which its registers are laid out as
    /// those of EL1. The upper half of the addresses is not taken over.
    pub(crate) fn lowered(self, is_shared: bool) -> Option<Self> {
        let sctlr = SCTLR_RESET | self.sctlr & COMMON;
        let tcr = if is_shared { self.tcr | NO_UPPER } else { lowered(self.tcr) };
        (self.sctlr & MMU_ON != 0).then_some(Self { tcr, sctlr, ..self })
    }

    /// EL1's as EL2 has it, where EL2 had `before` what EL1 does not know.
    pub(crate) const fn raised(self, before: &Self, is_shared: bool) -> Self {
        let sctlr = before.sctlr & !COMMON | self.sctlr & COMMON;
        let (tcr, ttbr) = match is_shared {
            true => (self.tcr & !UPPER | before.tcr & UPPER, self.ttbr),
            false => (raised(self.tcr, before.tcr), self.ttbr & !ASID),
        };
        Self { tcr, ttbr, sctlr, ..self }
    }

    /// Whether EL1 has tables for the upper half of its addresses, which [`Self::raised`] has no place for.
    pub(crate) const fn has_upper(&self) -> bool {
        self.sctlr & MMU_ON != 0 && self.tcr & NO_UPPER == 0
    }

    /// Whether EL2, with this translation of EL1's raised, goes on executing the code from `first` to `last`, of two pages at most,
    /// where it is. The entries are read by `read_entry`.
    pub(crate) fn executes(
        &self,
        is_shared: bool,
        [first, last]: [u64; 2],
        read_entry: impl Fn(Gpa) -> Option<u64>,
    ) -> bool {
        let stage1 = Stage1 { sctlr: self.sctlr, tcr: self.tcr, ttbr: [self.ttbr, 0] };
        self.sctlr & MMU_ON == 0
            || [first, last].into_iter().all(|address| {
                let page = Spa::new(address).page().raw();
                let leaf = stage1.leaf(Gva::new(page), &read_entry);
                leaf.ok()
                    .flatten()
                    .is_some_and(|leaf| leaf.leads == Gpa::new(page) && self.executes_leaf(&leaf, is_shared))
            })
    }

    fn executes_leaf(&self, leaf: &Leaf, is_shared: bool) -> bool {
        let is_writable = leaf.is_writable() && self.sctlr & WRITABLE_IS_DATA != 0;
        let may_execute = if is_shared { leaf.privileged_executes() } else { leaf.el2_executes() };
        leaf.is_accessed() && may_execute && !is_writable
    }
}

/// TCR_EL2 as TCR_EL1: what is not [`LOWER`] moves, and the upper half of the addresses has no tables.
const fn lowered(tcr: u64) -> u64 {
    tcr & LOWER | NO_UPPER | (tcr >> 16 & 7) << 32 | (tcr >> 20 & 1) << 37 | (tcr >> 21 & 3) << 39
}

/// TCR_EL1 as TCR_EL2, with what else was there before.
const fn raised(tcr: u64, before: u64) -> u64 {
    let moved = (tcr >> 32 & 7) << 16 | (tcr >> 37 & 1) << 20 | (tcr >> 39 & 3) << 21;
    before & !(LOWER | MOVED) | tcr & LOWER | moved
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    /// EL2's, as firmware sets it: RES1 bits, 40 bits of physical addresses, 44 of virtual ones.
    const FIRMWARE: Translation = Translation {
        mair: 0xFFBB_4400,
        tcr: 1 << 31 | 1 << 23 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 20,
        ttbr: 0x4700_0000,
        sctlr: 0x30C5_0830 | 1 | 1 << 2 | 1 << 12,
        vbar: 0x4710_0800,
    };

    #[test]
    fn el1_has_the_same_addresses() {
        let el1 = FIRMWARE.lowered(false).unwrap();
        assert_eq!(el1.tcr, 20 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32);
        assert_eq!(el1.sctlr, SCTLR_RESET | 1 | 1 << 2 | 1 << 12);
        assert_eq!((el1.mair, el1.ttbr, el1.vbar), (FIRMWARE.mair, FIRMWARE.ttbr, FIRMWARE.vbar));
        assert_eq!(Translation { sctlr: 0x30C5_0830, ..FIRMWARE }.lowered(false), None);
    }

    #[test]
    fn what_was_changed_at_el1_is_raised_with_the_rest_as_it_was() {
        let mut el1 = FIRMWARE.lowered(false).unwrap();
        el1 = Translation { ttbr: 0x5_0000_4800_0000, vbar: 0x4800_0800, sctlr: el1.sctlr | 1 << 19, ..el1 };
        let before = Translation { sctlr: FIRMWARE.sctlr | 1 << 31, tcr: FIRMWARE.tcr | 1 << 24, ..FIRMWARE };
        let raised = el1.raised(&before, false);
        assert_eq!(raised.sctlr, before.sctlr | 1 << 19);
        assert_eq!((raised.tcr, raised.ttbr, raised.vbar), (before.tcr, 0x4800_0000, 0x4800_0800));
    }

    /// One block of 1 GiB, at its own address, behind a table entry.
    fn entry(block: u64, table: u64) -> impl Fn(Gpa) -> Option<u64> {
        move |at| match at.raw() {
            0x4700_0000 => Some(0x4701_0003 | table),
            0x4701_0008 => Some(0x4000_0401 | block),
            _ => Some(0),
        }
    }

    #[test]
    fn only_what_el2_executes_where_it_is_leads_back() {
        const CODE: [u64; 2] = [0x4012_3F80, 0x4012_4010];
        const NOT_AT_EL2: u64 = 1 << 54;
        const NOT_PRIVILEGED: u64 = 1 << 53;
        let el1 = FIRMWARE.lowered(false).unwrap();
        let runs = |is_shared, block, table| el1.executes(is_shared, CODE, entry(block, table));
        assert!(runs(false, 0, 0) && runs(true, 0, 0));
        assert!(runs(false, NOT_PRIVILEGED, 1 << 59) && !runs(true, NOT_PRIVILEGED, 0));
        assert!(runs(true, NOT_AT_EL2, 1 << 60) && !runs(false, NOT_AT_EL2, 0));
        assert!(!runs(false, 0, 1 << 60) && !runs(true, 0, 1 << 59), "a table forbids it too");
        assert!(
            !el1.executes(false, CODE, |at| entry(0, 0)(at).map(|entry| entry & !(1 << 10))),
            "the access flag"
        );
        assert!(!el1.executes(false, [0x8000_0000; 2], entry(0, 0)), "nothing is mapped there");
        assert!(!el1.executes(false, [0x4000_0000, 0x8000_0000], entry(0, 0)), "not all of it");
        let elsewhere =
            |at: Gpa| entry(0, 0)(at).map(|entry| entry ^ if entry & 3 == 1 { 3 << 30 } else { 0 });
        assert!(!el1.executes(false, CODE, elsewhere), "other memory is mapped there");
        let guarded = Translation { sctlr: el1.sctlr | 1 << 19, ..el1 };
        assert!(!guarded.executes(false, CODE, entry(0, 0)), "WXN, and writable");
        assert!(
            guarded.executes(false, CODE, entry(1 << 7, 0))
                && guarded.executes(false, CODE, entry(0, 1 << 62))
        );
        let large = Translation { tcr: el1.tcr | 1 << 14, ..el1 };
        assert!(!large.executes(false, CODE, entry(0, 0)), "tables that the kernel does not read");
        let off = Translation { sctlr: el1.sctlr & !1, ..el1 };
        assert!(off.executes(false, [0x8000_0000; 2], entry(0, 0)));
    }

    #[test]
    fn an_os_with_an_upper_half_has_its_own_tables() {
        let el1 = FIRMWARE.lowered(false).unwrap();
        assert!(!el1.has_upper());
        assert!(Translation { tcr: el1.tcr & !NO_UPPER, ..el1 }.has_upper());
        assert!(!Translation { tcr: 0, sctlr: SCTLR_RESET, ..el1 }.has_upper());
    }

    proptest! {
        /// Whatever EL2 had, with the MMU on, it has again. In a regime of one level TCR_EL2's bits 7 and 6 mean nothing.
        #[test]
        fn there_and_back(mair: u64, tcr: u64, ttbr: u64, sctlr: u64, vbar: u64, is_shared: bool) {
            let (tcr, ttbr) = if is_shared { (tcr, ttbr) } else { (tcr & !(3 << 6), ttbr & !ASID) };
            let before = Translation { mair, tcr, ttbr, sctlr: sctlr | MMU_ON, vbar };
            let el1 = before.lowered(is_shared).unwrap();
            prop_assert!(!el1.has_upper());
            prop_assert_eq!(el1.raised(&before, is_shared), before);
        }
    }
}
