//! The change between a guest and the extension: loads [`TrapConfig`], and replaces the registers of EL1 and EL0 that both use.

use aarch64_cpu::registers::{
    CPTR_EL2, HCR_EL2, MDCR_EL2, MDSCR_EL1, Readable, SCTLR_EL1, SP_EL0, TPIDR_EL0, VTCR_EL2, VTTBR_EL2,
    Writeable,
};

use crate::trap_config::{HCR_TGE, SCTLR_RESET, TrapConfig};

/// Loads a trap configuration into the processor.
///
/// The order matters where the processor may begin a translation of EL1's by speculation (Cortex-A57 and A72, erratum
/// 1319367): between its two halves it sees the stage 2 of the one with the stage 1 of the other, and keeps what it finds with the
/// tag in VTTBR_EL2. So HCR_EL2 changes while that is the extension's, whose stage 2 leads to its own pages alone.
impl TrapConfig {
    /// A guest's. What follows must be a context synchronization, as ERET is.
    #[inline]
    pub(crate) fn load(&self) {
        HCR_EL2.set(self.hcr);
        synchronize();
        self.load_rest();
    }

    /// The extension's. The same.
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

/// Whether the processor has the extension's regime.
#[inline(always)]
pub(crate) fn is_users() -> bool {
    HCR_EL2.get() & HCR_TGE != 0
}

#[inline(always)]
fn synchronize() {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// What the guest has in the registers that EL0 uses too.
#[derive(Clone, Copy)]
pub(crate) struct GuestEl0 {
    sp: u64,
    thread: u64,
}

impl GuestEl0 {
    /// Takes it out and gives EL0 the extension's stack and thread register.
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

/// SCTLR_EL1 and MDSCR_EL1 of a guest, where what it has there would disturb the extension.
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

    /// Takes them out and makes EL0 the extension's: little endian, unaligned accesses allowed, no debug exceptions.
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
