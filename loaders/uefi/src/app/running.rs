//! A Plinth that runs below this application.

use super::arch::{Plinth, detect};
use super::say;

/// What stopping a processor answers where there is no Plinth.
pub(crate) const NOT_RUNNING: u64 = u64::MAX - 1;

/// The `status` command.
pub(crate) fn report() {
    match detect() {
        Some(Plinth { abi_version, processors }) => {
            say!("Plinth runs: ABI version {abi_version}, launched on {processors} processor(s)");
        }
        None => say!("Plinth does not run on this machine; start the loader without arguments to launch it"),
    }
}
