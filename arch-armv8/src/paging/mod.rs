//! Translation tables, as data: formats of EL2 and of stage 2, the per-processor root of stage 2, and the guest's own tables.
//! All of it only computes.

pub(crate) mod cpu_root;
pub(crate) mod descriptor;
pub(crate) mod formats;
pub(crate) mod guest_walk;
pub(crate) mod lowered;

#[cfg(test)]
mod format_tests;
