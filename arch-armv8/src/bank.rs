//! The system registers of EL1 and EL0 that belong to a virtual state.
//!
//! They stay in the processor as long as no other virtual state runs there: an exit touches none of them. A VS that is put
//! to rest takes them out. Its page says whether they are in the processor, so that a register can be read and written
//! either way. FP, SIMD and SVE registers move with them: see [`vectors`].

use plinth_hal::{PAGE_SIZE, PhysicalMemory, Spa};

use crate::features::Features;
use crate::guest_walk::Stage1;
use crate::host::{read_system, write_system};
use crate::launch::Translation;
use crate::memory::IdentityMemory;
use crate::timer::{self, Ring};
use crate::vectors;

/// Where in a VS's page the bank starts, in bytes: behind the general registers.
const OFFSET: u64 = 0x100;
/// Where the page says that the bank is in the processor.
const LOADED: u64 = 0xFF8;

/// Reads a register of EL1 or EL0. In the EL2&0 regime EL2 finds its own under many of their names, and theirs under
/// others, with Op1 5 (Arm ARM, D1.3.8): those are `moved`.
macro_rules! read {
    (plain, $name:literal, $($encoding:literal),*) => {
        read_system!($name)
    };
    (moved, $name:literal, $op0:literal, $crn:literal, $crm:literal, $op2:literal) => {
        if Features::current().shared_regime {
            read_system!(concat!("S", $op0, "_5_C", $crn, "_C", $crm, "_", $op2))
        } else {
            read_system!($name)
        }
    };
}

/// Writes a register of EL1 or EL0, as [`read`].
macro_rules! write {
    (plain, $name:literal, $op0:literal, $crn:literal, $crm:literal, $op2:literal, $value:expr) => {
        write_system!($name, $value)
    };
    (moved, $name:literal, $op0:literal, $crn:literal, $crm:literal, $op2:literal, $value:expr) => {
        if Features::current().shared_regime {
            write_system!(concat!("S", $op0, "_5_C", $crn, "_C", $crm, "_", $op2), $value)
        } else {
            write_system!($name, $value)
        }
    };
}

macro_rules! bank {
    ($($name:literal = $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal, $reset:expr, $how:ident;)*) => {
        /// The registers by their encoding, in the order of the bank.
        const ENCODINGS: &[u64] = &[$($op0 << 14 | $op1 << 11 | $crn << 7 | $crm << 3 | $op2,)*];
        /// Their values after a reset.
        const RESET: &[u64] = &[$($reset,)*];

        /// Reads them all from the processor.
        fn read_all(mut store: impl FnMut(u64, u64)) {
            let mut index = 0;
            $(
                store(index, read!($how, $name, $op0, $crn, $crm, $op2));
                index += 1;
            )*
            let _ = index;
        }

        /// Writes them all to the processor.
        fn write_all(fetch: impl Fn(u64) -> u64) {
            let mut index = 0;
            $(
                // SAFETY: a register of EL1 or EL0, which acts only once a guest runs.
                unsafe { write!($how, $name, $op0, $crn, $crm, $op2, fetch(index)) };
                index += 1;
            )*
            let _ = index;
        }

        fn read_one(wanted: u64) -> u64 {
            let mut index = 0;
            $(
                if index == wanted {
                    return read!($how, $name, $op0, $crn, $crm, $op2);
                }
                index += 1;
            )*
            let _ = index;
            0
        }

        fn write_one(wanted: u64, value: u64) {
            let mut index = 0;
            $(
                if index == wanted {
                    // SAFETY: a register of EL1 or EL0, which acts only once a guest runs.
                    unsafe { write!($how, $name, $op0, $crn, $crm, $op2, value) };
                }
                index += 1;
            )*
            let _ = index;
        }
    };
}

/// SCTLR_EL1 with the MMU and the caches off: its RES1 bits (Arm ARM, SCTLR_EL1).
pub(crate) const SCTLR_RESET: u64 = 0x30D0_0800;

bank! {
    "sctlr_el1" = 3 0 1 0 0, SCTLR_RESET, moved;
    "cpacr_el1" = 3 0 1 0 2, 0, moved;
    "ttbr0_el1" = 3 0 2 0 0, 0, moved;
    "ttbr1_el1" = 3 0 2 0 1, 0, moved;
    "tcr_el1" = 3 0 2 0 2, 0, moved;
    "spsr_el1" = 3 0 4 0 0, 0, moved;
    "elr_el1" = 3 0 4 0 1, 0, moved;
    "sp_el0" = 3 0 4 1 0, 0, plain;
    "afsr0_el1" = 3 0 5 1 0, 0, moved;
    "afsr1_el1" = 3 0 5 1 1, 0, moved;
    "esr_el1" = 3 0 5 2 0, 0, moved;
    "far_el1" = 3 0 6 0 0, 0, moved;
    "par_el1" = 3 0 7 4 0, 0, plain;
    "mair_el1" = 3 0 10 2 0, 0, moved;
    "amair_el1" = 3 0 10 3 0, 0, moved;
    "vbar_el1" = 3 0 12 0 0, 0, moved;
    "contextidr_el1" = 3 0 13 0 1, 0, moved;
    "tpidr_el1" = 3 0 13 0 4, 0, plain;
    "cntkctl_el1" = 3 0 14 1 0, 0, moved;
    "csselr_el1" = 3 2 0 0 0, 0, plain;
    "tpidr_el0" = 3 3 13 0 2, 0, plain;
    "tpidrro_el0" = 3 3 13 0 3, 0, plain;
    "cntp_ctl_el0" = 3 3 14 2 1, 0, moved;
    "cntp_cval_el0" = 3 3 14 2 2, 0, moved;
    "cntv_ctl_el0" = 3 3 14 3 1, 0, moved;
    "cntv_cval_el0" = 3 3 14 3 2, 0, moved;
    "sp_el1" = 3 4 4 1 0, 0, plain;
    "mdscr_el1" = 2 0 0 2 2, 0, plain;
}

const SCTLR_EL1: u64 = 3 << 14 | 1 << 7;
const CPACR_EL1: u64 = SCTLR_EL1 | 2;
const TTBR0_EL1: u64 = 3 << 14 | 2 << 7;
const TCR_EL1: u64 = TTBR0_EL1 | 2;
const MAIR_EL1: u64 = 3 << 14 | 10 << 7 | 2 << 3;
const VBAR_EL1: u64 = 3 << 14 | 12 << 7;
/// The encoding of SP_EL1.
pub(crate) const SP_EL1: u64 = 3 << 14 | 4 << 11 | 4 << 7 | 1 << 3;
/// The encoding of MDSCR_EL1.
pub(crate) const MDSCR_EL1: u64 = 2 << 14 | 2 << 3 | 2;

/// Where the bank has CNTP and CNTV: control, and compare value. CNTVOFF_EL2 is 0, so both count alike.
const TIMERS: [[usize; 2]; 2] = [
    [index_of(timer::CNTP_CTL), index_of(timer::CNTP_CVAL)],
    [index_of(timer::CNTV_CTL), index_of(timer::CNTV_CVAL)],
];

/// The place of a register that the bank has.
const fn index_of(encoding: u64) -> usize {
    let mut index = 0;
    while ENCODINGS[index] != encoding {
        index += 1;
    }
    index
}

/// A VS's bank.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bank {
    memory: IdentityMemory,
    page: Spa,
}

impl Bank {
    /// How many pages a VS's take: one, and those of [`vectors`].
    pub(crate) fn pages() -> usize {
        1 + vectors::pages()
    }

    /// The bank in a VS's pages: [`Self::pages`] of the VS's own, zeroed at first.
    pub(crate) fn new(memory: IdentityMemory, page: Spa) -> Self {
        Self { memory, page }
    }

    fn vectors(&self) -> Spa {
        Spa::new(self.page.raw() + PAGE_SIZE)
    }

    fn at(&self, index: u64) -> Spa {
        Spa::new(self.page.raw() + OFFSET + index * 8)
    }

    /// What the guest translates by.
    pub(crate) fn stage1(&self) -> Stage1 {
        let read = |encoding| self.read(encoding).unwrap_or(0);
        Stage1 { sctlr: read(SCTLR_EL1), tcr: read(TCR_EL1), ttbr: [read(TTBR0_EL1), read(TTBR0_EL1 | 1)] }
    }

    /// Whether the processor holds it.
    #[inline]
    pub(crate) fn is_loaded(&self) -> bool {
        self.memory.read_u64(Spa::new(self.page.raw() + LOADED)) != 0
    }

    /// Takes it from the processor, if that holds it. Called on the processor that it was loaded on.
    pub(crate) fn save(&self) {
        if self.is_loaded() {
            read_all(|index, value| self.memory.write_u64(self.at(index), value));
            self.save_vectors();
            self.memory.write_u64(Spa::new(self.page.raw() + LOADED), 0);
        }
    }

    /// Puts it into the processor. The one that was there has been saved.
    #[cold]
    pub(crate) fn load(&self) {
        write_all(|index| self.memory.read_u64(self.at(index)));
        // SAFETY: the pages are the VS's own, says `new`, and the kernel runs at EL2.
        unsafe { vectors::load(self.vectors()) };
        self.memory.write_u64(Spa::new(self.page.raw() + LOADED), 1);
    }

    /// Takes over the FP, SIMD and SVE registers that the processor holds.
    pub(crate) fn save_vectors(&self) {
        // SAFETY: as in `load`.
        unsafe { vectors::save(self.vectors()) };
    }

    /// Gives every register its value after a reset.
    pub(crate) fn reset(&self) {
        for (index, value) in RESET.iter().enumerate() {
            self.write_index(index as u64, *value);
        }
    }

    /// Sets what a caller at EL2 needs to go on at EL1: its translation and vectors, and FP, which EL2 never trapped.
    pub(crate) fn lower(&self, translation: &Translation) {
        const FP_OPEN: u64 = 3 << 20;
        let values = [
            (SCTLR_EL1, translation.sctlr),
            (CPACR_EL1, FP_OPEN),
            (TTBR0_EL1, translation.ttbr),
            (TCR_EL1, translation.tcr),
            (MAIR_EL1, translation.mair),
            (VBAR_EL1, translation.vbar),
        ];
        for (encoding, value) in values {
            let _ = self.write(encoding, value);
        }
    }

    /// When EL1's timers raise their interrupts, those that are on and not masked.
    pub(crate) fn timers(&self) -> impl Iterator<Item = Ring> + use<> {
        let read = |index: usize| {
            if self.is_loaded() {
                read_one(index as u64)
            } else {
                self.memory.read_u64(self.at(index as u64))
            }
        };
        timer::INTERRUPTS
            .into_iter()
            .zip(TIMERS.map(|timer| timer.map(read)))
            .filter_map(|(ppi, [control, value])| timer::ring(ppi, control, value))
    }

    /// A register by its encoding.
    pub(crate) fn read(&self, encoding: u64) -> Option<u64> {
        let index = ENCODINGS.iter().position(|known| *known == encoding)? as u64;
        Some(if self.is_loaded() { read_one(index) } else { self.memory.read_u64(self.at(index)) })
    }

    /// Sets a register by its encoding.
    pub(crate) fn write(&self, encoding: u64, value: u64) -> Option<()> {
        let index = ENCODINGS.iter().position(|known| *known == encoding)? as u64;
        self.write_index(index, value);
        Some(())
    }

    fn write_index(&self, index: u64, value: u64) {
        if self.is_loaded() { write_one(index, value) } else { self.memory.write_u64(self.at(index), value) }
    }
}
