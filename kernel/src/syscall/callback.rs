//! Callback calls.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::{Arch, UserContext};

use super::{Answer, DONE};
use crate::extension::Extension;
use crate::pp::{Callback, Pp};

impl<A: Arch> Pp<'_, A> {
    /// Registers a callback, once, from `_start`.
    pub(super) fn register(&mut self, slot: impl FnOnce(&Extension) -> &AtomicU64) -> Answer {
        if self.callback != Callback::Start {
            return Err(Error::WrongState.into());
        }
        let address = self.user.argument(1);
        let extension = &self.kernel.extension;
        if !extension.may_be_code(address) {
            return Err(Failure::argument(1, Error::InvalidArgument));
        }
        match slot(extension).compare_exchange(0, address, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => DONE,
            Err(_) => Err(Error::Busy.into()),
        }
    }
}
