//! The EL1 and EL0 system registers of a virtual state.
//!
//! They stay loaded in the CPU until another virtual state runs there: an exit saves none of them. When a VS is switched
//! out, its registers are saved to its page. A word of the page tells whether they are loaded, so that a register can be
//! read and written in either place. FP, SIMD and SVE registers are saved and restored at the same time.

use plinth_hal::{PAGE_SIZE, PhysicalMemory, Spa};

use crate::buffers;
use crate::el1_registers::{EVERY_VMS, REGISTERS, el1_registers, is_kept};
use crate::el1_timer::{self, Ring};
use crate::features::Features;
use crate::fpsimd;
use crate::id::register_table::Id;
use crate::memory::IdentityMemory;
use crate::paging::guest_walk::Stage1;
use crate::paging::lowered::Translation;
use crate::sysreg::{read_system, write_system};

/// Where in a VS's page the bank starts, in bytes: behind the general registers.
const OFFSET: u64 = 0x100;
/// The word of the page that is not 0 while the registers are loaded in the CPU.
const LOADED: u64 = 0xFF8;

/// Reads a register of EL1 or EL0. In the EL2&0 regime many EL1 names access EL2's own registers, and EL1's are accessed by
/// other names, with Op1 5 (Arm ARM, D1.3.8): the registers marked `moved`.
macro_rules! read {
    ($shared:expr, plain, $name:literal, $($encoding:literal),*) => {
        read_system!($name)
    };
    ($shared:expr, moved, $name:literal, $op0:literal, $crn:literal, $crm:literal, $op2:literal) => {
        if $shared {
            read_system!(concat!("S", $op0, "_5_C", $crn, "_C", $crm, "_", $op2))
        } else {
            read_system!($name)
        }
    };
}

/// Writes a register of EL1 or EL0, as [`read`].
macro_rules! write {
    ($shared:expr, plain, $name:literal, $op0:literal, $crn:literal, $crm:literal, $op2:literal, $value:expr) => {
        write_system!($name, $value)
    };
    ($shared:expr, moved, $name:literal, $op0:literal, $crn:literal, $crm:literal, $op2:literal, $value:expr) => {
        if $shared {
            write_system!(concat!("S", $op0, "_5_C", $crn, "_C", $crm, "_", $op2), $value)
        } else {
            write_system!($name, $value)
        }
    };
}

macro_rules! el1_context {
    ($($group:ident { $($name:literal = $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal, $reset:expr, $how:ident;)* })*) => {
        /// Reads all that the processor has from it.
        fn read_all(features: &Features, mut store: impl FnMut(u64, u64)) {
            let shared = features.shared_regime;
            let mut index = 0;
            $(
                let first = index;
                if is_kept(features, Id::$group) {
                    let mut index = first;
                    $(
                        store(index, read!(shared, $how, $name, $op0, $crn, $crm, $op2));
                        index += 1;
                    )*
                    let _ = index;
                }
                index = first + [$($name),*].len() as u64;
            )*
            let _ = index;
        }

        /// Writes all that the processor has to it.
        fn write_all(features: &Features, fetch: impl Fn(u64) -> u64) {
            let shared = features.shared_regime;
            let mut index = 0;
            $(
                let first = index;
                if is_kept(features, Id::$group) {
                    let mut index = first;
                    $(
                        // SAFETY: a register of EL1 or EL0, which acts only once a guest runs.
                        unsafe { write!(shared, $how, $name, $op0, $crn, $crm, $op2, fetch(index)) };
                        index += 1;
                    )*
                    let _ = index;
                }
                index = first + [$($name),*].len() as u64;
            )*
            let _ = index;
        }

        /// Reads one that the processor has.
        fn read_one(shared: bool, wanted: u64) -> u64 {
            let mut index = 0;
            $($(
                if index == wanted {
                    return read!(shared, $how, $name, $op0, $crn, $crm, $op2);
                }
                index += 1;
            )*)*
            let _ = index;
            0
        }

        /// Writes one that the processor has.
        fn write_one(shared: bool, wanted: u64, value: u64) {
            let mut index = 0;
            $($(
                if index == wanted {
                    // SAFETY: a register of EL1 or EL0, which acts only once a guest runs.
                    unsafe { write!(shared, $how, $name, $op0, $crn, $crm, $op2, value) };
                }
                index += 1;
            )*)*
            let _ = index;
        }
    };
}

el1_registers!(el1_context);

pub(crate) const SCTLR_EL1: u64 = 3 << 14 | 1 << 7;
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
    [index_of(el1_timer::CNTP_CTL), index_of(el1_timer::CNTP_CVAL)],
    [index_of(el1_timer::CNTV_CTL), index_of(el1_timer::CNTV_CVAL)],
];

/// The place of a register that the bank has.
const fn index_of(encoding: u64) -> usize {
    let mut index = 0;
    while REGISTERS[index].encoding != encoding {
        index += 1;
    }
    index
}

/// A VS's bank.
#[derive(Clone, Copy, Debug)]
pub(crate) struct El1Context {
    memory: IdentityMemory,
    page: Spa,
}

impl El1Context {
    /// How many pages a VS's take: one, and those of [`fpsimd`].
    pub(crate) fn pages() -> usize {
        1 + fpsimd::pages()
    }

    /// The bank in a VS's pages: [`Self::pages`] of the VS's own, zeroed at first.
    pub(crate) fn new(memory: IdentityMemory, page: Spa) -> Self {
        Self { memory, page }
    }

    fn vectors(&self) -> Spa {
        self.page.wrapping_add(PAGE_SIZE)
    }

    fn at(&self, index: u64) -> Spa {
        self.page.wrapping_add(OFFSET).word(index)
    }

    /// What the guest translates by.
    pub(crate) fn stage1(&self) -> Stage1 {
        let read = |encoding| self.read(encoding).unwrap_or(0);
        Stage1 { sctlr: read(SCTLR_EL1), tcr: read(TCR_EL1), ttbr: [read(TTBR0_EL1), read(TTBR0_EL1 | 1)] }
    }

    /// Whether the registers are loaded in the CPU.
    #[inline]
    pub(crate) fn is_loaded(&self) -> bool {
        self.memory.read_u64(self.page.wrapping_add(LOADED)) != 0
    }

    /// Saves the registers, if they are loaded. Called on the CPU on which they were loaded.
    pub(crate) fn save(&self) {
        if self.is_loaded() {
            let features = Features::current();
            buffers::drain(&features);
            read_all(&features, |index, value| self.memory.write_u64(self.at(index), value));
            buffers::stop(&features);
            self.save_vectors();
            self.memory.write_u64(self.page.wrapping_add(LOADED), 0);
        }
    }

    /// Loads the registers. Those of the previous VS have been saved.
    #[cold]
    pub(crate) fn load(&self) {
        write_all(&Features::current(), |index| self.memory.read_u64(self.at(index)));
        // SAFETY: the pages are the VS's own, says `new`, and the kernel runs at EL2.
        unsafe { fpsimd::load(self.vectors()) };
        self.memory.write_u64(self.page.wrapping_add(LOADED), 1);
    }

    /// Marks the registers as loaded: the OS keeps those that the CPU holds.
    pub(crate) fn adopt(&self) {
        self.memory.write_u64(self.page.wrapping_add(LOADED), 1);
    }

    /// Stops speculative EL1 page walks until the registers are loaded, if they are not yet.
    pub(crate) fn stop_walks(&self) {
        if !self.is_loaded() {
            buffers::stop_walks(Features::current().shared_regime);
        }
    }

    /// Saves the FP, SIMD and SVE registers that the CPU holds.
    pub(crate) fn save_vectors(&self) {
        // SAFETY: as in `load`.
        unsafe { fpsimd::save(self.vectors()) };
    }

    /// Sets every register to its reset value.
    pub(crate) fn reset(&self) {
        let features = Features::current();
        for (index, register) in REGISTERS.iter().enumerate().filter(|(_, own)| is_kept(&features, own.group))
        {
            self.write_index(&features, index as u64, register.reset);
        }
    }

    /// Sets what a caller at EL2 needs to continue at EL1: its translation, its exception vectors, and FP enabled, as at
    /// EL2.
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

    /// What EL1 translates by.
    pub(crate) fn translation(&self) -> Translation {
        let [sctlr, ttbr, tcr, mair, vbar] = [SCTLR_EL1, TTBR0_EL1, TCR_EL1, MAIR_EL1, VBAR_EL1]
            .map(|encoding| self.read(encoding).unwrap_or(0));
        Translation { mair, tcr, ttbr, sctlr, vbar }
    }

    /// The expiry times of EL1's timers that are enabled and unmasked.
    pub(crate) fn timers(&self) -> impl Iterator<Item = Ring> + use<> {
        let features = Features::current();
        let read = |index: usize| self.read_index(&features, index as u64);
        el1_timer::INTERRUPTS
            .into_iter()
            .zip(TIMERS.map(|timer| timer.map(read)))
            .filter_map(|(ppi, [control, value])| el1_timer::ring(ppi, control, value))
    }

    /// A register by its encoding.
    pub(crate) fn read(&self, encoding: u64) -> Option<u64> {
        let features = Features::current();
        let index = Self::find(&features, encoding, REGISTERS.len())?;
        Some(self.read_index(&features, index))
    }

    /// As [`Self::read`], for the registers that this kind of VM has.
    pub(crate) fn read_own(&self, encoding: u64, is_root: bool) -> Option<u64> {
        let features = Features::current();
        let index = Self::find(&features, encoding, Self::reach(is_root))?;
        Some(self.read_index(&features, index))
    }

    /// Sets a register by its encoding.
    pub(crate) fn write(&self, encoding: u64, value: u64) -> Option<()> {
        let features = Features::current();
        let index = Self::find(&features, encoding, REGISTERS.len())?;
        self.write_index(&features, index, value);
        Some(())
    }

    /// As [`Self::write`], for the registers that this kind of VM has.
    pub(crate) fn write_own(&self, encoding: u64, value: u64, is_root: bool) -> Option<()> {
        let features = Features::current();
        let index = Self::find(&features, encoding, Self::reach(is_root))?;
        self.write_index(&features, index, value);
        Some(())
    }

    /// How many registers of the bank a VM has.
    fn reach(is_root: bool) -> usize {
        if is_root { REGISTERS.len() } else { EVERY_VMS }
    }

    /// The place of a register among the first `reach`, if the processor has it.
    fn find(features: &Features, encoding: u64, reach: usize) -> Option<u64> {
        let index = REGISTERS[..reach].iter().position(|known| known.encoding == encoding)?;
        is_kept(features, REGISTERS[index].group).then_some(index as u64)
    }

    fn read_index(&self, features: &Features, index: u64) -> u64 {
        if self.is_loaded() {
            read_one(features.shared_regime, index)
        } else {
            self.memory.read_u64(self.at(index))
        }
    }

    fn write_index(&self, features: &Features, index: u64, value: u64) {
        if self.is_loaded() {
            write_one(features.shared_regime, index, value);
        } else {
            self.memory.write_u64(self.at(index), value);
        }
    }
}
