//! The firmware interface PSCI, as data: its calls, and the power state of each processor. All of it only computes.
//! `power/` carries the calls out.

pub(crate) mod calls;
pub(crate) mod power_state;
