//! The intercepts and switches in a new VMCB (AMD APM vol. 2, appendix B).

use crate::features::Features;
use crate::reflect::REFLECTED;
use crate::vmcb::{self, Control, misc};

/// Fills in what does not depend on where a VM's structures are.
pub(crate) fn controls(control: &mut Control, features: &Features, is_root: bool) {
    control.intercept_exceptions = REFLECTED;
    control.intercept_misc = misc::NMI
        | misc::INIT
        | misc::CPUID
        | misc::INVD
        | misc::INVLPGA
        | misc::IOIO
        | misc::MSR
        | misc::SHUTDOWN;
    control.intercept_svm = vmcb::SVM_INSTRUCTIONS;
    control.nested_enable = vmcb::NESTED_PAGING;
    if features.virtual_nmi {
        control.interrupt_control |= vmcb::VIRTUAL_NMI_ENABLED;
    }
    if !is_root {
        control.intercept_misc |= misc::INTR | misc::HLT | misc::RDPMC;
        control.intercept_svm |= vmcb::MONITOR_AND_MWAIT;
        control.interrupt_control |= vmcb::VIRTUAL_MASKING;
    } else if features.broadcast_flush {
        control.nested_enable |= vmcb::BROADCAST_FLUSH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(features: &Features, is_root: bool) -> Control {
        // SAFETY: all zeroes is a valid `Control`.
        let mut control = unsafe { core::mem::zeroed() };
        controls(&mut control, features, is_root);
        control
    }

    #[test]
    fn exceptions_that_can_keep_the_processor_exit_from_every_vm() {
        for is_root in [true, false] {
            assert_eq!(new(&Features::NONE, is_root).intercept_exceptions, 1 << 1 | 1 << 17, "#DB and #AC");
        }
    }

    #[test]
    fn only_the_root_vm_flushes_by_broadcast_and_only_where_guests_can() {
        let able = Features { broadcast_flush: true, ..Features::NONE };
        let enable = |features, is_root| new(features, is_root).nested_enable;
        assert_eq!(enable(&able, true), 1 | 1 << 7);
        assert_eq!(enable(&able, false), 1);
        assert_eq!(enable(&Features::NONE, true), 1);
    }
}
