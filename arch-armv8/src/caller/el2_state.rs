//! EL2's state from before the launch, in one table: saved on each CPU before the kernel changes any of it, and restored
//! when the CPU is given back, to firmware at EL2 or to an OS at EL1 with a stub at EL2.
//!
//! [`crate::el2::HostRegisters`] has the registers of EL2's own translation, which are changed with the MMU off.

use core::arch::asm;

use aarch64_cpu::registers::{MIDR_EL1, MPIDR_EL1, Readable};

use crate::el2::traps::Traps;
use crate::features::Features;
use crate::id::controls::{Controls, Who};
use crate::id::register_table::Id;
use crate::machine::device_tree::GicKind;
use crate::sysreg::{read_system, write_system};
use crate::trap_config::HCR_E2H;

macro_rules! registers {
    ($($field:ident = $name:literal, |$features:ident, $gic:ident| $present:expr;)*) => {
        /// The registers' values; 0 for a register that this processor does not have.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct El2State {
            features: Features,
            gic: GicKind,
            traps: Traps,
            $($field: u64,)*
        }

        impl El2State {
            /// Those of this processor, whose vector lengths EL2 may read.
            fn read(features: &Features, gic: GicKind) -> Self {
                Self {
                    features: *features,
                    gic,
                    traps: Traps::current(features, gic),
                    $($field: {
                        let ($features, $gic) = (features, gic);
                        if $present { read_system!($name) } else { 0 }
                    },)*
                }
            }

            /// # Safety
            /// As [`Self::load`]; EL2 may write the vector lengths.
            unsafe fn write(&self) {
                $({
                    let ($features, $gic) = (&self.features, self.gic);
                    if $present {
                        // SAFETY: registers of EL2's, each there by its ID field; the rest is the caller's.
                        unsafe { write_system!($name, self.$field) };
                    }
                })*
            }
        }
    };
}

registers! {
    zcr = "S3_4_C1_C2_0", |features, _gic| features.sve;
    smcr = "S3_4_C1_C2_6", |features, _gic| features.sme;
    mdcr = "mdcr_el2", |_features, _gic| true;
    vttbr = "vttbr_el2", |_features, _gic| true;
    vtcr = "vtcr_el2", |_features, _gic| true;
    tpidr = "tpidr_el2", |_features, _gic| true;
    hstr = "hstr_el2", |_features, _gic| true;
    vpidr = "vpidr_el2", |_features, _gic| true;
    vmpidr = "vmpidr_el2", |_features, _gic| true;
    cntvoff = "cntvoff_el2", |_features, _gic| true;
    // EL2's own timer, which the kernel uses.
    cnthp_cval = "cnthp_cval_el2", |_features, _gic| true;
    cnthp_ctl = "cnthp_ctl_el2", |_features, _gic| true;
    vsesr = "S3_4_C5_C2_3", |features, _gic| features.error_records;
    vdisr = "S3_4_C12_C1_1", |features, _gic| features.error_records;
    // EL1's, which the launch disables.
    lorc = "S3_0_C10_C4_3", |features, _gic| features.present.has(Id::OrderingRegions);
    ich_hcr = "S3_4_C12_C11_0", |_features, gic| gic == GicKind::V3;
    // Last: it may close what is written before.
    cptr = "cptr_el2", |_features, _gic| true;
}

impl El2State {
    /// That of this processor. With [`GicKind::None`] the interface of a GICv3 is not remembered: it stays as it is made at
    /// launch.
    pub(crate) fn current(features: &Features, gic: GicKind) -> Self {
        const SRE: u64 = 1;
        // Without its system registers there is nothing to remember (Arm IHI 0069, ICC_SRE_EL2).
        let works = gic == GicKind::V3 && read_system!("S3_4_C12_C9_5") & SRE != 0;
        let cptr = read_system!("cptr_el2");
        open_vectors(features);
        let state = Self::read(features, if works { gic } else { GicKind::None });
        // SAFETY: as it was.
        unsafe { write_system!("cptr_el2", cptr) };
        Self { cptr, ..state }
    }

    /// The same on this processor, which came under Plinth from the firmware, so that it never had one.
    pub(crate) fn on_this_processor(self) -> Self {
        Self { vpidr: MIDR_EL1.get(), vmpidr: MPIDR_EL1.get(), ..self }
    }

    /// CPTR_EL2 and CNTHCTL_EL2, which are laid out by HCR_EL2.E2H.
    pub(crate) const fn laid_out(&self) -> [u64; 2] {
        [self.cptr, self.traps.cnthctl()]
    }

    /// What EL2's virtual counter is behind the machine's.
    pub(crate) const fn counter_offset(&self) -> u64 {
        self.cntvoff
    }

    /// The same with another thread register.
    pub(crate) fn with_thread(self, tpidr: u64) -> Self {
        Self { tpidr, ..self }
    }

    /// Whether EL1 ran on a machine that is its own: no stage 2, no offset of the virtual counter's.
    pub(crate) const fn owns_machine(&self, hcr: u64) -> bool {
        const VM: u64 = 1 << 0;
        const TGE: u64 = 1 << 27;
        hcr & (VM | TGE) == 0 && self.cntvoff == 0
    }

    /// Puts it back. CPTR_EL2 and CNTHCTL_EL2 are laid out by HCR_EL2.E2H, so that is the caller's by now, or both are written again
    /// once it is.
    ///
    /// # Safety
    /// At EL2, and no guest runs on this processor any more.
    pub(crate) unsafe fn load(&self) {
        // SAFETY: what the caller had before the launch lets it run on. ICC_SRE_EL2 comes before ICH_HCR_EL2.
        unsafe {
            self.traps.load();
            open_vectors(&self.features);
            self.write();
            asm!("isb", options(nostack, preserves_flags));
        }
    }
}

/// Lets EL2 at the vector lengths, by CPTR_EL2 as it is laid out now.
fn open_vectors(features: &Features) {
    let shared_regime = read_system!("hcr_el2") & HCR_E2H != 0;
    let laid_out = Features { shared_regime, ..*features };
    let open = Controls::new(features.present, Who::Root).cptr(&laid_out);
    // SAFETY: CPTR_EL2 is set again before anything else runs that it concerns.
    unsafe {
        write_system!("cptr_el2", open);
        asm!("isb", options(nostack, preserves_flags));
    }
}
