//! System registers and cache maintenance of EL2: what the kernel's own life on a processor needs.

use core::arch::asm;

use aarch64_cpu::registers::{
    CNTHCTL_EL2, CNTVOFF_EL2, HAFGRTR_EL2, HDFGRTR_EL2, HDFGWTR_EL2, HFGITR_EL2, HFGRTR_EL2, HFGWTR_EL2,
    ICC_SRE_EL2, ICH_HCR_EL2, MAIR_EL2, MIDR_EL1, MPIDR_EL1, Readable, SCTLR_EL2, TCR_EL2, TTBR0_EL2,
    VBAR_EL2, VMPIDR_EL2, Writeable,
};

use crate::bank::SCTLR_RESET;
use crate::descriptor::MAIR;
use crate::fdt::GicKind;
use crate::features::Features;
use crate::formats::KERNEL_BITS;

/// Reads a system register by its assembler name.
macro_rules! read_system {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: reading a register that the surrounding code knows to be there changes nothing.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register by its assembler name. Unsafe: what follows depends on the register.
macro_rules! write_system {
    ($name:expr, $value:expr) => {
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) $value, options(nostack, preserves_flags))
    };
}

pub(crate) use {read_system, write_system};

/// The registers that make a processor execute the kernel.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct HostRegisters {
    pub(crate) mair: u64,
    pub(crate) tcr: u64,
    pub(crate) ttbr: u64,
    pub(crate) sctlr: u64,
    pub(crate) vbar: u64,
    pub(crate) hcr: u64,
}

/// HCR_EL2.E2H: EL2&0 is the regime of EL2.
pub(crate) const HCR_E2H: u64 = 1 << 34;
/// HCR_EL2.TGE: EL0 is EL2's, and EL1 is out of use.
pub(crate) const HCR_TGE: u64 = 1 << 27;
/// HCR_EL2.RW: EL1 is AArch64.
pub(crate) const HCR_RW: u64 = 1 << 31;

impl HostRegisters {
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
        Self { mair: MAIR, tcr, ttbr: root, sctlr: SCTLR, vbar: vectors, hcr: HCR_RW }
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
        }
    }

    /// What the caller had.
    pub(crate) fn current() -> Self {
        Self {
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
                // With the MMU off, because the registers that follow mean something else in the other regime.
                "msr hcr_el2, {hcr}",
                "isb",
                "msr mair_el2, {mair}",
                "msr tcr_el2, {tcr}",
                "msr ttbr0_el2, {ttbr}",
                "msr vbar_el2, {vbar}",
                "isb",
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
                sctlr = in(reg) self.sctlr,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// What the kernel changes of a caller at EL2 beside its translation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrapRegisters {
    cptr: u64,
    mdcr: u64,
    cnthctl: u64,
    vttbr: u64,
    vtcr: u64,
    tpidr: u64,
}

impl TrapRegisters {
    /// What the caller had.
    pub(crate) fn current() -> Self {
        Self {
            cptr: read_system!("cptr_el2"),
            mdcr: read_system!("mdcr_el2"),
            cnthctl: read_system!("cnthctl_el2"),
            vttbr: read_system!("vttbr_el2"),
            vtcr: read_system!("vtcr_el2"),
            tpidr: read_system!("tpidr_el2"),
        }
    }

    /// Gives them back, after [`HostRegisters::load`], which says how they are laid out.
    ///
    /// # Safety
    /// No guest runs on this processor any more.
    pub(crate) unsafe fn load(&self) {
        // SAFETY: what the caller had while it ran at EL2 lets it run on.
        unsafe {
            write_system!("cptr_el2", self.cptr);
            write_system!("mdcr_el2", self.mdcr);
            write_system!("cnthctl_el2", self.cnthctl);
            write_system!("vttbr_el2", self.vttbr);
            write_system!("vtcr_el2", self.vtcr);
            write_system!("tpidr_el2", self.tpidr);
            asm!("isb", options(nostack, preserves_flags));
        }
    }
}

/// Whether there is pointer authentication by QARMA3 (ID_AA64ISAR2_EL1.APA3 and GPA3).
pub(crate) fn has_qarma3() -> bool {
    read_system!("S3_0_C0_C6_2") & 0xFF00 != 0
}

/// Sets what EL2 keeps from EL1, once for each processor: nothing but what [`crate::vs`] says at each entry.
///
/// # Safety
/// At EL2, before any guest runs on this processor.
pub(crate) unsafe fn open_el1(features: &Features, gic: GicKind) {
    // EL1PCTEN, EL1PCEN (EL1PTEN): the physical counter and timer are EL1's.
    CNTHCTL_EL2.set(if features.shared_regime { 3 << 10 } else { 3 });
    CNTVOFF_EL2.set(0);
    VMPIDR_EL2.set(MPIDR_EL1.get());
    // SAFETY: registers of EL2 that only say what EL1 sees; each optional one is there by its ID field.
    unsafe {
        write_system!("vpidr_el2", MIDR_EL1.get());
        write_system!("hstr_el2", 0u64);
        if features.extended_hcr {
            // SMPME: streaming priorities are EL1's.
            write_system!("S3_4_C1_C2_2", u64::from(features.sme) << 5);
        }
    }
    if features.fine_traps {
        // nTPIDR2_EL0 and nSMPRI_EL1: where set, no trap.
        let open = if features.sme { 3 << 54 } else { 0 };
        HFGRTR_EL2.set(open);
        HFGWTR_EL2.set(open);
        HFGITR_EL2.set(0);
        HDFGRTR_EL2.set(0);
        HDFGWTR_EL2.set(0);
        if read_system!("id_aa64pfr0_el1") >> 44 & 0xF != 0 {
            HAFGRTR_EL2.set(0);
        }
    }
    if gic == GicKind::V3 {
        // SRE, DFB, DIB, Enable: EL1 uses the system registers; nothing is virtualized.
        ICC_SRE_EL2.set(0xF);
        ICH_HCR_EL2.set(0);
    }
    // SAFETY: as above; the vector lengths may be written once CPTR_EL2 lets EL2 at them.
    unsafe { open_vectors(features) };
}

/// Gives EL1 the longest vectors there are.
///
/// # Safety
/// At EL2; CPTR_EL2 is set again before a guest runs.
unsafe fn open_vectors(features: &Features) {
    let whole = if features.sme { read_system!("S3_0_C0_C4_5") >> 63 & 1 } else { 0 };
    // SAFETY: CPTR_EL2 traps nothing of EL2's for these writes; each register is there by its ID field.
    unsafe {
        write_system!("cptr_el2", guest_cptr(features));
        asm!("isb", options(nostack, preserves_flags));
        if features.sve {
            write_system!("S3_4_C1_C2_0", 0xFu64);
        }
        if features.sme {
            const FA64: u64 = 1 << 31;
            write_system!("S3_4_C1_C2_6", 0xF | (FA64 * whole));
        }
    }
}

/// CPTR_EL2 while a guest runs: no trap of FP, SVE or SME; RES1 where they are not there (Arm ARM, CPTR_EL2).
///
/// In the EL2&0 regime it is laid out as CPACR_EL1, and one value serves the extension too: FP, SVE and SME are trapped
/// at EL0 while that is EL2's, and nowhere else.
pub(crate) fn guest_cptr(features: &Features) -> u64 {
    if features.shared_regime {
        return 1 << 20 | u64::from(features.sve) << 16 | u64::from(features.sme) << 24;
    }
    const RES1: u64 = 0x22FF;
    let (no_sve, no_sme) = (u64::from(!features.sve), u64::from(!features.sme));
    RES1 | no_sve << 8 | no_sme << 12
}

/// Sets PSTATE.PAN: EL2 reads and writes nothing that EL0 may. An exception from EL0 sets it (SCTLR_EL2.SPAN is 0), one from
/// EL1 leaves what the guest has there (Arm ARM, "PSTATE.PAN"). For the EL2&0 regime, which has FEAT_PAN.
#[inline(always)]
pub(crate) fn forbid_user_access() {
    // SAFETY: MSR PAN, #1, as assemblers know it without FEAT_PAN: the kernel needs no such access.
    unsafe { asm!("msr S0_0_C4_C1_4, xzr", options(nostack, preserves_flags)) };
}

/// The size of the smallest data cache line, in bytes.
fn line() -> u64 {
    4 << (read_system!("ctr_el0") >> 16 & 0xF)
}

/// Makes what was written at `start` visible to instruction fetches.
///
/// # Safety
/// The range is mapped.
pub(crate) unsafe fn publish_code(start: u64, size: u64) {
    let step = line();
    let mut at = start & !(step - 1);
    while at < start + size {
        // SAFETY: cleaning a line of mapped memory loses nothing.
        unsafe { asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += step;
    }
    // SAFETY: barriers and an invalidation of instructions, which are fetched again.
    unsafe { asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Writes what was written at `start` back to memory, where a processor without caches finds it.
///
/// # Safety
/// The range is mapped.
pub(crate) unsafe fn clean_to_memory(start: u64, size: u64) {
    let step = line();
    let mut at = start & !(step - 1);
    while at < start + size {
        // SAFETY: cleaning and invalidating a line of mapped memory loses nothing.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += step;
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}
