//! An SError that came to EL2. The kernel, the extension and other VMs touch only their own memory, so it is about something that
//! the root VM did before, most likely to a device: the root VM finds it, whichever VM runs when it comes.

/// HCR_EL2.VSE: an SError waits for the guest.
pub(crate) const HCR_VSE: u64 = 1 << 8;
/// With AMO, which makes the virtual one visible; a physical one comes to EL2 meanwhile.
pub(crate) const HCR_VIRTUAL_ERROR: u64 = HCR_VSE | 1 << 5;

/// Whether one waits for the root VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RootError {
    waits: bool,
}

impl RootError {
    /// One has come.
    pub(crate) fn came(&mut self) {
        self.waits = true;
    }

    /// Whether one waits for it.
    pub(crate) const fn waits(self) -> bool {
        self.waits
    }

    /// The root VM has run: it has taken the error if HCR_EL2 says so (Arm ARM, HCR_EL2.VSE).
    pub(crate) fn root_ran(&mut self, hcr: u64) {
        self.waits &= hcr & HCR_VSE != 0;
    }

    /// What HCR_EL2 has for it while a VM runs.
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
