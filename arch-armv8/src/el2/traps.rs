//! The trap registers that change only when another kind of VM runs: loaded at launch, and when the root VM and a guest VM
//! alternate on a CPU.
//!
//! The kernel writes every such register that the CPU has. A value that the firmware has left could trap what the ID
//! registers promise, or leave open what they hide.

use crate::features::Features;
use crate::id::controls::{Controls, El2, Who};
use crate::id::register_table::Id;
use crate::machine::device_tree::GicKind;
use crate::sysreg::{read_system, write_system};

macro_rules! registers {
    ($($field:ident = $name:literal, |$features:ident, $gic:ident| $present:expr, |$controls:ident| $value:expr;)*) => {
        /// The registers' values; 0 for a register that this processor does not have.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Traps {
            features: Features,
            gic: GicKind,
            $($field: u64,)*
        }

        impl Traps {
            /// Those for a kind of VM.
            pub(crate) fn new(features: &Features, gic: GicKind, who: Who) -> Self {
                let controls = (*features, Controls::new(features.present, who));
                Self {
                    features: *features,
                    gic,
                    $($field: { let $controls = &controls; $value },)*
                }
            }

            /// What the processor has.
            pub(crate) fn current(features: &Features, gic: GicKind) -> Self {
                Self {
                    features: *features,
                    gic,
                    $($field: {
                        let ($features, $gic) = (features, gic);
                        if $present { read_system!($name) } else { 0 }
                    },)*
                }
            }

            /// Puts them into the processor.
            ///
            /// # Safety
            /// At EL2; what they open is the VM's that runs next, or the caller's whom they are from.
            #[cold]
            pub(crate) unsafe fn load(&self) {
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

impl Traps {
    /// CNTHCTL_EL2.
    pub(crate) const fn cnthctl(&self) -> u64 {
        self.cnthctl
    }
}

/// Those of both kinds of VM, and whose a processor has.
#[derive(Debug)]
pub(crate) struct Opened {
    root: Traps,
    others: Traps,
    is_root: bool,
}

impl Opened {
    /// On a processor that has the root VM's.
    pub(crate) fn to_root(features: &Features, gic: GicKind) -> Self {
        let [root, others] = [Who::Root, Who::Guest].map(|who| Traps::new(features, gic, who));
        Self { root, others, is_root: true }
    }

    /// Loads the registers for the VM that runs next, if the last VM was of the other kind.
    ///
    /// # Safety
    /// At EL2; the VM that runs next is of that kind.
    pub(crate) unsafe fn open_to(&mut self, is_root: bool) {
        if self.is_root != is_root {
            let traps = if is_root { &self.root } else { &self.others };
            // SAFETY: forwarded to the caller.
            unsafe { traps.load() };
            self.is_root = is_root;
        }
    }
}

registers! {
    cnthctl = "cnthctl_el2", |_features, _gic| true, |all| all.1.cnthctl(&all.0);
    hcrx = "S3_4_C1_C2_2", |features, _gic| features.extended_hcr, |all| all.1.get(El2::Hcrx);
    hfgrtr = "S3_4_C1_C1_4", |features, _gic| features.fine_traps, |all| all.1.get(El2::Hfgrtr);
    hfgwtr = "S3_4_C1_C1_5", |features, _gic| features.fine_traps, |all| all.1.get(El2::Hfgwtr);
    hfgitr = "S3_4_C1_C1_6", |features, _gic| features.fine_traps, |all| all.1.get(El2::Hfgitr);
    hdfgrtr = "S3_4_C3_C1_4", |features, _gic| features.fine_traps, |all| all.1.get(El2::Hdfgrtr);
    hdfgwtr = "S3_4_C3_C1_5", |features, _gic| features.fine_traps, |all| all.1.get(El2::Hdfgwtr);
    hafgrtr = "S3_4_C3_C1_6",
        |features, _gic| features.fine_traps && features.present.has(Id::Activity), |_all| 0;
    hfgrtr2 = "S3_4_C3_C1_2", |features, _gic| features.more_fine_traps, |all| all.1.get(El2::Hfgrtr2);
    hfgwtr2 = "S3_4_C3_C1_3", |features, _gic| features.more_fine_traps, |all| all.1.get(El2::Hfgwtr2);
    hfgitr2 = "S3_4_C3_C1_7", |features, _gic| features.more_fine_traps, |all| all.1.get(El2::Hfgitr2);
    hdfgrtr2 = "S3_4_C3_C1_0", |features, _gic| features.more_fine_traps, |all| all.1.get(El2::Hdfgrtr2);
    hdfgwtr2 = "S3_4_C3_C1_1", |features, _gic| features.more_fine_traps, |all| all.1.get(El2::Hdfgwtr2);
    mpam2 = "S3_4_C10_C5_0", |features, _gic| features.present.has(Id::Partitioning), |all| all.1.get(El2::Mpam2);
    mpamhcr = "S3_4_C10_C4_0",
        |features, _gic| features.present.has(Id::PartitionNames), |all| all.1.get(El2::Mpamhcr);
    icc_sre = "S3_4_C12_C9_5", |_features, gic| gic == GicKind::V3, |all| all.1.get(El2::IccSre);
    brbcr = "S2_4_C9_C0_0", |features, _gic| features.present.has(Id::Branches), |all| all.1.get(El2::Brbcr);
    pmscr = "S3_4_C9_C9_0", |features, _gic| features.profiling, |all| all.1.get(El2::Pmscr);
    // E2TRE and E0HTRE are 0: nothing of EL2's is traced. Firmware that keeps the trace buffer to itself may keep this too
    // (MDCR_EL3.TTRF), and nobody traces then.
    trfcr = "S3_4_C1_C2_1",
        |features, _gic| features.trace_buffer && features.present.has(Id::TraceFilter), |_all| 0;
    // EL2 has no control stack.
    gcscr = "S3_4_C2_C5_0", |features, _gic| features.present.has(Id::ControlStack), |_all| 0;
    // No priority is mapped (HCRX_EL2.SMPME).
    smprimap = "S3_4_C1_C2_5", |features, _gic| features.streaming_priorities, |_all| 0;
    // GICv5's fine-grained traps: all closed.
    ich_hfgrtr = "S3_4_C12_C9_4", |features, _gic| features.present.has(Id::GicV5), |_all| 0;
    ich_hfgwtr = "S3_4_C12_C9_6", |features, _gic| features.present.has(Id::GicV5), |_all| 0;
    ich_hfgitr = "S3_4_C12_C9_7", |features, _gic| features.present.has(Id::GicV5), |_all| 0;
}
