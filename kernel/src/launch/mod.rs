//! What a launch brings: the kernel's command line, and what the loader and the backend say about the machine.

pub(crate) mod choices;
pub mod options;
pub(crate) mod platform;
pub(crate) mod prepare;
