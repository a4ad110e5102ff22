//! Callback calls.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::{Arch, UserContext};

use super::{Answer, DONE};
use crate::extension::Callback;
use crate::extension::Extension;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Registers the callback of a PP's launch.
    pub(super) fn register_bootstrap(&mut self) -> Answer {
        self.register(|extension| &extension.bootstrap)
    }

    /// Registers the callback of exits.
    pub(super) fn register_vmexit(&mut self) -> Answer {
        self.register(|extension| &extension.vmexit)
    }

    /// Registers the callback of the extension's failures.
    pub(super) fn register_fail(&mut self) -> Answer {
        self.register(|extension| &extension.fail)
    }

    /// Registers a callback, once, from `_start`.
    fn register(&mut self, slot: impl FnOnce(&Extension) -> &AtomicU64) -> Answer {
        if self.callback != Callback::Start {
            return Err(Error::WrongState.into());
        }
        let address = self.user.argument(1);
        let extension = self.extension;
        if !extension.may_be_code(address) {
            return Err(Failure::argument(1, Error::InvalidArgument));
        }
        match slot(extension).compare_exchange(0, address, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => DONE,
            Err(_) => Err(Error::Busy.into()),
        }
    }
}
