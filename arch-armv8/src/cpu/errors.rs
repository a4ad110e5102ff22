//! SErrors that come to EL2 are handed on to the root VM: see [`crate::serror`].

use aarch64_cpu::registers::{HCR_EL2, Readable};

use super::El2Cpu;
use crate::serror::HCR_VIRTUAL_ERROR;
use crate::syndrome::Syndrome;
use crate::sysreg;

impl El2Cpu {
    /// Checks whether the root VM has taken its pending virtual SError.
    pub(crate) fn error_delivered(&mut self) {
        if self.extra & HCR_VIRTUAL_ERROR != 0 {
            self.error.root_ran(HCR_EL2.get());
            self.extra = self.extra & !HCR_VIRTUAL_ERROR | self.error.bits(true);
        }
    }

    /// Makes an SError that came to EL2 pending for the root VM ([`RootError`]).
    #[cold]
    pub(super) fn hand_on_error(&mut self, syndrome: Syndrome) {
        if !core::mem::replace(&mut self.error_logged, true) {
            log::warn!(
                "processor {:#x}: SError {:#x}; it is handed to the root VM, and more are not logged",
                self.id,
                syndrome.0
            );
        }
        self.error.came();
        self.extra |= self.error.bits(self.holds_root);
        if self.has_virtual_syndrome {
            // SAFETY: VSESR_EL2 is there by its ID field, and only says what the guest's SError is.
            unsafe { sysreg::write_system!("S3_4_C5_C2_3", syndrome.details()) };
        }
    }
}
