//! The change between a guest and the extension: loads [`TrapConfig`], and replaces the registers of EL1 and EL0 that both use.

use aarch64_cpu::registers::{
    CPTR_EL2, HCR_EL2, MDCR_EL2, MDSCR_EL1, Readable, SCTLR_EL1, SP_EL0, TPIDR_EL0, VTCR_EL2, VTTBR_EL2,
    Writeable,
};

use crate::trap_config::{HCR_TGE, SCTLR_RESET, TrapConfig};

/// Loads a configuration into the CPU.
///
/// The order matters on CPUs that walk EL1's tables speculatively (Cortex-A57 and A72, erratum 1319367). Between the two
/// halves such a CPU sees one VM's stage 2 with the other one's stage 1, and caches the result under the VMID in VTTBR_EL2.
/// So HCR_EL2 changes while VTTBR_EL2 is the extension's, whose stage 2 maps only its own pages.
impl TrapConfig {
    /// Loads a guest's. A context synchronization must follow, such as ERET.
    #[inline]
    pub(crate) fn load(&self) {
        HCR_EL2.set(self.hcr);
        synchronize();
        self.load_rest();
    }

    /// Loads the extension's. A context synchronization must follow, such as ERET.
    #[inline]
    pub(crate) fn load_user(&self) {
        self.load_rest();
        synchronize();
        HCR_EL2.set(self.hcr);
    }

    #[inline(always)]
    fn load_rest(&self) {
        VTTBR_EL2.set(self.vttbr);
        VTCR_EL2.set(self.vtcr);
        CPTR_EL2.set(self.cptr);
        MDCR_EL2.set(self.mdcr);
    }
}

/// Whether the extension's configuration is loaded.
#[inline(always)]
pub(crate) fn is_users() -> bool {
    HCR_EL2.get() & HCR_TGE != 0
}

#[inline(always)]
fn synchronize() {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// The guest's SP_EL0 and TPIDR_EL0, which the extension uses too.
#[derive(Clone, Copy)]
pub(crate) struct GuestEl0 {
    sp: u64,
    thread: u64,
}

impl GuestEl0 {
    /// Saves the guest's values and loads the extension's stack and thread pointer.
    #[inline]
    pub(crate) fn replace(sp: u64, thread: u64) -> Self {
        let guest = Self { sp: SP_EL0.get(), thread: TPIDR_EL0.get() };
        Self { sp, thread }.load();
        guest
    }

    #[inline]
    pub(crate) fn load(self) {
        SP_EL0.set(self.sp);
        TPIDR_EL0.set(self.thread);
    }
}

/// A guest's SCTLR_EL1 and MDSCR_EL1, saved because its values would disturb the extension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuestControl {
    sctlr: Option<u64>,
    mdscr: u64,
}

impl GuestControl {
    /// Whether the guest's control registers would disturb the extension: by alignment checks or big-endian data
    /// (SCTLR_EL1, which governs EL0 too unless the regime is EL2&0), or by debug exceptions.
    #[inline]
    pub(crate) fn disturbs(shared_regime: bool) -> bool {
        const ALIGNMENT_CHECK: u64 = 1 << 1;
        const BIG_ENDIAN: u64 = 1 << 24;
        const DEBUG: u64 = 1 << 0 | 7 << 13;
        MDSCR_EL1.get() & DEBUG != 0
            || !shared_regime && SCTLR_EL1.get() & (ALIGNMENT_CHECK | BIG_ENDIAN) != 0
    }

    /// Saves the guest's values and sets EL0 up for the extension: little endian, unaligned accesses allowed, no debug
    /// exceptions.
    #[cold]
    pub(crate) fn replace(shared_regime: bool) -> Self {
        let sctlr = (!shared_regime).then(|| SCTLR_EL1.get());
        let guest = Self { sctlr, mdscr: MDSCR_EL1.get() };
        Self { sctlr: sctlr.map(|_| SCTLR_RESET), mdscr: 0 }.load();
        guest
    }

    /// Puts them back.
    #[cold]
    pub(crate) fn load(self) {
        MDSCR_EL1.set(self.mdscr);
        if let Some(sctlr) = self.sctlr {
            SCTLR_EL1.set(sctlr);
        }
    }
}
