//! What the hypervisor says about itself: its log, the trace of exits, and the last lines of a PP on which it has failed.

pub(crate) mod crash;
pub mod logger;
pub(crate) mod text;
pub(crate) mod trace;
