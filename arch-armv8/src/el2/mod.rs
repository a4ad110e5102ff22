//! EL2's own system registers: the translation regime that the kernel runs in, and what EL2 opens to EL1 once for each
//! processor.

pub(crate) mod debug_registers;
pub(crate) mod id_registers;
pub(crate) mod probe;
pub(crate) mod traps;
pub(crate) mod world;

use core::arch::asm;

use aarch64_cpu::registers::{
    CNTVOFF_EL2, ICH_HCR_EL2, MAIR_EL2, MIDR_EL1, MPIDR_EL1, Readable, SCTLR_EL2, TCR_EL2, TTBR0_EL2,
    VBAR_EL2, VMPIDR_EL2, Writeable,
};

use crate::features::Features;
use crate::id::controls::{Controls, El2, Who};
use crate::id::register_table::Id;
use crate::machine::device_tree::GicKind;
use crate::paging::descriptor::MAIR;
use crate::paging::formats::KERNEL_BITS;
use crate::sysreg::{read_system, write_system};
use crate::trap_config::{HCR_E2H, HCR_RW, HCR_TGE, SCTLR_RESET};

use self::traps::Traps;

/// The EL2 registers with which a CPU executes the kernel.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct HostRegisters {
    pub(crate) mair: u64,
    pub(crate) tcr: u64,
    pub(crate) ttbr: u64,
    pub(crate) sctlr: u64,
    pub(crate) vbar: u64,
    pub(crate) hcr: u64,
    /// Which of TCR2_EL2 and SCTLR2_EL2 the CPU has: [`HAS_TCR2`], [`HAS_SCTLR2`].
    pub(crate) extensions: u64,
    /// TCR2_EL2 and SCTLR2_EL2. The kernel's are 0: other values would change the meaning of its tables.
    pub(crate) tcr2: u64,
    pub(crate) sctlr2: u64,
}

/// [`HostRegisters::extensions`]: TCR2_EL2, by its bit.
pub(crate) const HAS_TCR2: u64 = 0;
/// SCTLR2_EL2.
pub(crate) const HAS_SCTLR2: u64 = 1;

impl HostRegisters {
    /// None yet.
    pub(crate) const NONE: Self =
        Self { mair: 0, tcr: 0, ttbr: 0, sctlr: 0, vbar: 0, hcr: 0, extensions: 0, tcr2: 0, sctlr2: 0 };

    /// The kernel's, with its tables at `root`.
    pub(crate) fn kernel(features: &Features, root: u64, vectors: u64) -> Self {
        // RES1 bits 31 and 23; write-back walks, inner shareable, 4 KiB granule (Arm ARM, TCR_EL2).
        const TCR: u64 = 1 << 31 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | (64 - KERNEL_BITS) as u64;
        // RES1 bits; M, C, SA, I and WXN (Arm ARM, SCTLR_EL2).
        const SCTLR: u64 = 0x30C5_0830 | 1 << 0 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;
        if features.shared_regime {
            return Self::shared(features, root, vectors);
        }
        let tcr = TCR | features.range << 16;
        let extensions = Self::extensions(features);
        Self {
            mair: MAIR,
            tcr,
            ttbr: root,
            sctlr: SCTLR,
            vbar: vectors,
            hcr: HCR_RW,
            extensions,
            ..Self::NONE
        }
    }

    /// The kernel's in the EL2&0 regime, where TCR_EL2 and SCTLR_EL2 are laid out as those of EL1.
    fn shared(features: &Features, root: u64, vectors: u64) -> Self {
        // T0SZ; write-back walks, inner shareable, 4 KiB granule; no upper half: EPD1, with a T1SZ and TG1 that are valid.
        const SIZE: u64 = (64 - KERNEL_BITS) as u64;
        const TCR: u64 = SIZE | SIZE << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 23 | 2 << 30;
        // As for EL1, with PAN on exceptions from EL0 (SPAN is 0); M, C, SA, SA0, I and WXN.
        const SCTLR: u64 = SCTLR_RESET & !(1 << 23) | 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 12 | 1 << 19;
        Self {
            mair: MAIR,
            tcr: TCR | features.range << 32,
            ttbr: root,
            sctlr: SCTLR,
            vbar: vectors,
            hcr: HCR_RW | HCR_E2H | HCR_TGE,
            extensions: Self::extensions(features),
            ..Self::NONE
        }
    }

    fn extensions(features: &Features) -> u64 {
        u64::from(features.extended_tcr) << HAS_TCR2 | u64::from(features.extended_sctlr) << HAS_SCTLR2
    }

    /// What the caller had.
    pub(crate) fn current() -> Self {
        let features = Features::current();
        Self {
            extensions: Self::extensions(&features),
            tcr2: if features.extended_tcr { read_system!("S3_4_C2_C0_3") } else { 0 },
            sctlr2: if features.extended_sctlr { read_system!("S3_4_C1_C0_3") } else { 0 },
            mair: MAIR_EL2.get(),
            tcr: TCR_EL2.get(),
            ttbr: TTBR0_EL2.get(),
            sctlr: SCTLR_EL2.get(),
            vbar: VBAR_EL2.get(),
            hcr: read_system!("hcr_el2"),
        }
    }

    /// Makes this processor use them.
    ///
    /// # Safety
    /// The running code, its stack and all memory in use are mapped at the same addresses before and after, and
    /// the code that runs is clean to the point of coherency.
    pub(crate) unsafe fn load(&self) {
        const MMU_AND_CACHES: u64 = 1 << 0 | 1 << 2;
        let off = SCTLR_EL2.get() & !MMU_AND_CACHES;
        // SAFETY: between the two writes of SCTLR_EL2 nothing but registers is used; the mapping is the caller's.
        unsafe {
            asm!(
                "dsb sy",
                "msr sctlr_el2, {off}",
                "isb",
                // With the MMU off: HCR_EL2.E2H changes the layout of the registers below.
                "msr hcr_el2, {hcr}",
                "isb",
                "msr mair_el2, {mair}",
                "msr tcr_el2, {tcr}",
                "msr ttbr0_el2, {ttbr}",
                "msr vbar_el2, {vbar}",
                "tbz {extensions}, #{has_tcr2}, 2f",
                "msr S3_4_C2_C0_3, {tcr2}",
                "2: tbz {extensions}, #{has_sctlr2}, 3f",
                "msr S3_4_C1_C0_3, {sctlr2}",
                "3: isb",
                "tlbi alle2",
                "dsb sy",
                "isb",
                "msr sctlr_el2, {sctlr}",
                "isb",
                off = in(reg) off,
                hcr = in(reg) self.hcr,
                mair = in(reg) self.mair,
                tcr = in(reg) self.tcr,
                ttbr = in(reg) self.ttbr,
                vbar = in(reg) self.vbar,
                extensions = in(reg) self.extensions,
                has_tcr2 = const HAS_TCR2,
                has_sctlr2 = const HAS_SCTLR2,
                tcr2 = in(reg) self.tcr2,
                sctlr2 = in(reg) self.sctlr2,
                sctlr = in(reg) self.sctlr,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// Sets what EL2 keeps from EL1, once for each processor: nothing but what [`crate::vs`] and [`Traps`] say. Returns what there is of
/// an interrupt controller: one whose system registers do not work counts as none.
///
/// # Safety
/// At EL2, before any guest runs on this processor.
pub(crate) unsafe fn open_el1(features: &Features, gic: GicKind) -> GicKind {
    CNTVOFF_EL2.set(0);
    VMPIDR_EL2.set(MPIDR_EL1.get());
    // SAFETY: registers of EL2 that only say what EL1 sees, and of EL1's that nobody uses yet; each optional one is there by
    // its ID field; the vector lengths may be written once CPTR_EL2 lets EL2 at them.
    unsafe {
        write_system!("vpidr_el2", MIDR_EL1.get());
        write_system!("hstr_el2", 0u64);
        if features.error_records {
            // VSESR_EL2, VDISR_EL2: no virtual error.
            write_system!("S3_4_C5_C2_3", 0u64);
            write_system!("S3_4_C12_C1_1", 0u64);
        }
        if features.present.has(Id::OrderingRegions) {
            // LORC_EL1: off, the state that an OS assumes.
            write_system!("S3_0_C10_C4_3", 0u64);
        }
        Traps::new(features, gic, Who::Root).load();
        open_vectors(features);
        open_interface(gic)
    }
}

/// Enables EL1's access to the system registers of a GICv3, if they work: firmware may have fixed ICC_SRE_EL2.SRE at 0, and
/// then the registers are undefined at EL2 too (Arm IHI 0069, ICC_SRE_EL2).
///
/// # Safety
/// As [`open_el1`], which has written ICC_SRE_EL2.
unsafe fn open_interface(gic: GicKind) -> GicKind {
    const SRE: u64 = 1;
    if gic != GicKind::V3 {
        return gic;
    }
    // SAFETY: a barrier, so that the registers are there that ICC_SRE_EL2 enables.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
    if read_system!("S3_4_C12_C9_5") & SRE == 0 {
        log::warn!(
            "the firmware keeps the system registers of the GICv3 from EL2: the extension is not interrupted"
        );
        return GicKind::None;
    }
    ICH_HCR_EL2.set(0);
    gic
}

/// Enables the longest SVE and SME vectors for EL1.
///
/// # Safety
/// At EL2; CPTR_EL2 is set again before a guest runs.
unsafe fn open_vectors(features: &Features) {
    const FA64: u64 = 1 << 31;
    let controls = Controls::new(features.present, Who::Root);
    let whole = if features.sme { read_system!("S3_0_C0_C4_5") >> 63 & 1 } else { 0 };
    // SAFETY: CPTR_EL2 traps nothing of EL2's for these writes; each register is there by its ID field.
    unsafe {
        write_system!("cptr_el2", features.open_cptr);
        asm!("isb", options(nostack, preserves_flags));
        if features.sve {
            write_system!("S3_4_C1_C2_0", 0xFu64);
        }
        if features.sme {
            write_system!("S3_4_C1_C2_6", controls.get(El2::Smcr) | (FA64 * whole));
        }
    }
}

/// Sets PSTATE.PAN: EL2 reads and writes nothing that EL0 may. An exception from EL0 sets it (SCTLR_EL2.SPAN is 0), one from
/// EL1 leaves what the guest has there (Arm ARM, "PSTATE.PAN"). For the EL2&0 regime, which has FEAT_PAN.
#[inline(always)]
pub(crate) fn forbid_user_access() {
    // SAFETY: MSR PAN, #1, as assemblers know it without FEAT_PAN: the kernel needs no such access.
    unsafe { asm!("msr S0_0_C4_C1_4, xzr", options(nostack, preserves_flags)) };
}
