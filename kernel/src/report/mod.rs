//! Diagnostics: the log, the trace of exits, and the last lines of a PP on which the kernel has failed.

pub(crate) mod crash;
pub mod logger;
pub(crate) mod text;
pub(crate) mod trace;
