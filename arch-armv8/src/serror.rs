//! SErrors that come to EL2. The kernel, the extension and guest VMs access only their own memory. So the cause is an
//! earlier access of the root VM, most likely to a device, and the SError is injected into the root VM, whichever VM runs
//! when it arrives.

/// HCR_EL2.VSE: a virtual SError is pending for the guest.
pub(crate) const HCR_VSE: u64 = 1 << 8;
/// HCR_EL2.VSE with AMO, which makes the virtual SError visible and routes physical ones to EL2 meanwhile.
pub(crate) const HCR_VIRTUAL_ERROR: u64 = HCR_VSE | 1 << 5;

/// Whether one waits for the root VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RootError {
    waits: bool,
}

impl RootError {
    /// Records an SError.
    pub(crate) fn came(&mut self) {
        self.waits = true;
    }

    /// Whether one waits for it.
    pub(crate) const fn waits(self) -> bool {
        self.waits
    }

    /// Called after the root VM has run: the virtual SError was taken if HCR_EL2.VSE is 0 (Arm ARM, HCR_EL2.VSE).
    pub(crate) fn root_ran(&mut self, hcr: u64) {
        self.waits &= hcr & HCR_VSE != 0;
    }

    /// The bits of HCR_EL2 for the pending SError while a VM runs.
    pub(crate) const fn bits(self, is_root: bool) -> u64 {
        if self.waits && is_root { HCR_VIRTUAL_ERROR } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_the_root_vm_and_is_taken_once() {
        let mut error = RootError::default();
        assert_eq!((error.bits(true), error.bits(false)), (0, 0));
        error.came();
        error.came();
        assert_eq!((error.bits(true), error.bits(false)), (HCR_VIRTUAL_ERROR, 0), "no other VM's");
        error.root_ran(HCR_VIRTUAL_ERROR);
        assert_eq!(error.bits(true), HCR_VIRTUAL_ERROR, "it masks SErrors");
        error.root_ran(1 << 5);
        assert_eq!(error.bits(true), 0);
    }
}
