//! What EL2 and the registers that EL0 shares hold while a guest or the extension runs.

use aarch64_cpu::registers::{
    CPTR_EL2, HCR_EL2, MDCR_EL2, MDSCR_EL1, Readable, SCTLR_EL1, SP_EL0, TPIDR_EL0, VTCR_EL2, VTTBR_EL2,
    Writeable,
};
use plinth_hal::Spa;

use crate::bank::SCTLR_RESET;
use crate::features::Features;
use crate::formats::Stage2Format;
use crate::host::{HCR_E2H, HCR_RW, HCR_TGE, guest_cptr, read_system};
use crate::vm::{El2Vm, ROOT_TAG};

/// HCR_EL2 for every guest: VM, SWIO, TSC (SMC is trapped), RW. Interrupts, errors and WFx stay EL1's in the root VM.
const HCR: u64 = 1 << 0 | 1 << 1 | 1 << 19 | 1 << 31;
/// HCR_EL2 for other VMs: FMO, IMO and AMO (physical interrupts and errors come to EL2, virtual ones to EL1), TWI; TIDCP,
/// TACR and TSW: what an implementation defines, and maintenance of whole caches, is the machine's.
const HCR_OTHERS: u64 = 7 << 3 | 1 << 13 | 7 << 20;
/// HCR_EL2.APK and API: pointer authentication is not trapped.
const HCR_AUTHENTICATION: u64 = 3 << 40;
/// HCR_EL2.ATA: memory tags are not trapped.
const HCR_TAGS: u64 = 1 << 56;

/// MDCR_EL2.TDE: debug exceptions go to EL2.
pub(crate) const MDCR_TDE: u64 = 1 << 8;
/// MDCR_EL2.E2PB and E2TB: profiling and trace buffers are EL1's.
const MDCR_PROFILING: u64 = 3 << 12;
const MDCR_TRACE: u64 = 3 << 24;

/// MDCR_EL2 for other VMs: TPM and TPMCR, TDA, TDOSA and TDRA: performance monitor and debug registers are the root VM's.
const MDCR_OTHERS: u64 = 1 << 5 | 1 << 6 | 7 << 9;
/// MDCR_EL2.HPMN.
const MDCR_COUNTERS: u64 = 0x1F;

/// What EL2 holds for the lower level that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regime {
    pub(crate) hcr: u64,
    pub(crate) vttbr: u64,
    pub(crate) vtcr: u64,
    pub(crate) cptr: u64,
    pub(crate) mdcr: u64,
}

impl Regime {
    /// The extension's: EL0 alone (TGE), without a stage 1 (DC), on a stage 2 with the tag 0. FP, SVE, SME, debug and
    /// performance monitors are trapped: an extension that uses them faults, so nothing leaks either way.
    pub(crate) fn user(features: &Features, root: Spa) -> Self {
        const HCR: u64 = 1 << 0 | 1 << 1 | 1 << 12 | HCR_TGE | HCR_RW;
        const CPTR: u64 = 0x33FF | 1 << 10 | 1 << 20;
        const MDCR: u64 = 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11;
        if features.shared_regime {
            // EL0 is translated by the kernel's own tables; what is there of stage 2 is out of use.
            let hcr = HCR_RW | HCR_E2H | HCR_TGE;
            return Self { hcr, vttbr: 0, vtcr: 1 << 31, cptr: guest_cptr(features), mdcr: MDCR };
        }
        let format = Stage2Format::user(features.physical_bits());
        Self {
            hcr: HCR,
            vttbr: root.raw(),
            vtcr: format.control(features.range, features.wide_vmid),
            cptr: CPTR,
            mdcr: MDCR,
        }
    }

    /// Whether EL1's interrupts are virtual ones (HCR_EL2.IMO).
    #[inline]
    pub(crate) fn has_virtual_interrupts(&self) -> bool {
        self.hcr & 1 << 4 != 0
    }

    /// Puts it into the processor. What follows must be a context synchronization, as ERET is.
    #[inline]
    pub(crate) fn load(&self) {
        HCR_EL2.set(self.hcr);
        VTTBR_EL2.set(self.vttbr);
        VTCR_EL2.set(self.vtcr);
        CPTR_EL2.set(self.cptr);
        MDCR_EL2.set(self.mdcr);
    }
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

/// The regime of a VM's states, but for the root of stage 2, which is the processor's own.
pub(crate) fn of_guest(features: &Features, vm: &El2Vm) -> Regime {
    let format = Stage2Format::new(features.physical_bits());
    let mut hcr = HCR | if features.shared_regime { HCR_E2H } else { 0 };
    if features.pointer_authentication {
        hcr |= HCR_AUTHENTICATION;
    }
    if features.tagging {
        hcr |= HCR_TAGS;
    }
    let mut regime = Regime {
        hcr,
        vttbr: u64::from(vm.tag()) << 48,
        vtcr: format.control(features.range, features.wide_vmid),
        cptr: guest_cptr(features),
        mdcr: guest_mdcr(features),
    };
    if vm.tag() != ROOT_TAG {
        regime.hcr |= HCR_OTHERS;
        regime.cptr = without_scalable(features, regime.cptr);
        regime.mdcr = regime.mdcr & MDCR_COUNTERS | MDCR_OTHERS;
    }
    regime
}

/// CPTR_EL2 for other VMs than the root VM: FP and SIMD are not trapped, SVE and SME are.
fn without_scalable(features: &Features, root: u64) -> u64 {
    if features.shared_regime {
        return root & !(3 << 16 | 3 << 24) | 3 << 20;
    }
    root | 1 << 8 | 1 << 12
}

/// MDCR_EL2 while a guest runs: all event counters and both buffers are EL1's, nothing is trapped.
fn guest_mdcr(features: &Features) -> u64 {
    let counters = if features.monitor { read_system!("pmcr_el0") >> 11 & 0x1F } else { 0 };
    let profiling = if features.profiling { MDCR_PROFILING } else { 0 };
    let trace = if features.trace_buffer { MDCR_TRACE } else { 0 };
    counters | profiling | trace
}
