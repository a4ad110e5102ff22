//! The virtual-machine control structure (Intel SDM vol. 3C, chapter 24): its fields, its controls, and why an entry fails.

mod capability;
pub(crate) mod controls;
pub(crate) mod current;
pub(crate) mod failure;
pub(crate) mod field;
#[cfg(test)]
pub(crate) mod in_memory;
pub(crate) mod setup;
