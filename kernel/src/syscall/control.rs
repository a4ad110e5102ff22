//! Control and handle calls: the extension's life.

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{Error, Failure, VERSION};
use plinth_hal::{Arch, UserContext};
use plinth_launch::LaunchError;

use super::{Answer, DONE, Resumption};
use crate::extension::Callback;
use crate::extension::end::End;
use crate::pp::{Next, Pp};

impl<A: Arch> Pp<'_, A> {
    /// Ends `_start`; anywhere else it is a failure.
    pub(super) fn control_wait(&mut self) -> Next {
        if self.callback != Callback::Start {
            return self.fail(End::WaitsOutsideStart, None);
        }
        let extension = self.extension;
        let registered = |callback: &core::sync::atomic::AtomicU64| callback.load(Ordering::SeqCst) != 0;
        if !registered(&extension.bootstrap) || !registered(&extension.vmexit) {
            return self.abandon(LaunchError::ExtensionUnregistered, 0);
        }
        extension.ready.store(true, Ordering::SeqCst);
        self.bootstrap()
    }

    /// Goes on where the extension faulted.
    pub(super) fn control_again(&mut self) -> Resumption {
        let interrupted = self.interrupted.take().filter(|_| self.callback == Callback::Fail);
        let (user, callback) = interrupted.ok_or(Error::WrongState)?;
        self.user = user;
        self.callback = callback;
        Ok(Next::User)
    }

    /// Opens the ABI. One handle at a time; its value is not to be guessed.
    pub(super) fn handle_open(&mut self) -> Answer {
        let version = self.user.argument(0);
        if !(1..=VERSION).contains(&version) {
            return Err(Failure::argument(0, Error::Unsupported));
        }
        let extension = self.extension;
        let seed = extension.handle_seed.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
        let handle = mix(seed) | 1;
        match extension.handle.compare_exchange(0, handle, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => {
                extension.version.store(version, Ordering::SeqCst);
                Ok([handle, 0])
            }
            Err(_) => Err(Error::Busy.into()),
        }
    }

    /// Closes it.
    pub(super) fn handle_close(&mut self) -> Answer {
        let extension = self.extension;
        extension.version.store(VERSION, Ordering::SeqCst);
        extension.handle.store(0, Ordering::SeqCst);
        DONE
    }
}

/// Spreads the bits of a seed over the whole word (the finalizer of SplitMix64).
const fn mix(seed: u64) -> u64 {
    let mixed = (seed ^ seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}
