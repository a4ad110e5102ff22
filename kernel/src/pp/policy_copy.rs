//! A PP's copy of the declared answers of the active VM, so that a declared exit takes no lock.
//!
//! Invariant, private to this file: the copy is never newer than its version, so a copy of an older version
//! is always replaced.

use plinth_extension_api::abi::INVALID_ID;
use plinth_hal::{Arch, IdPolicy};

use crate::kernel::Kernel;
use crate::object::table::Id;

/// The copy and its version.
pub(crate) struct PolicyCopy {
    answers: IdPolicy,
    /// Whose answers they are, and how often any VM's had changed by then.
    version: (Id, u32),
}

impl PolicyCopy {
    /// No answers, of no VM.
    pub(crate) const fn new() -> Self {
        Self { answers: IdPolicy::new(), version: (Id::from_raw(INVALID_ID), 0) }
    }

    /// The answers.
    #[inline]
    pub(crate) const fn answers(&self) -> &IdPolicy {
        &self.answers
    }

    /// Copies the answers of a VM again if the copy is old.
    pub(crate) fn refresh<A: Arch>(&mut self, kernel: &Kernel<A>, vm: Id) {
        let version = (vm, kernel.policy_version());
        if version != self.version {
            self.copy(kernel, version);
        }
    }

    #[cold]
    #[inline(never)]
    fn copy<A: Arch>(&mut self, kernel: &Kernel<A>, version: (Id, u32)) {
        if kernel.vms.with(version.0, |vm| self.answers.clone_from(&vm.policy)).is_ok() {
            self.version = version;
        }
    }
}
