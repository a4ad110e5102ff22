//! What a launch brings: the kernel's command line, and what the loader and the backend say about the machine.

pub mod options;
pub(crate) mod platform;
