//! What the ID registers tell about a processor, and what follows: which registers it has, what EL2 traps of them, and what a
//! guest reads. All of it only computes.

pub(crate) mod controls;
pub(crate) mod facts;
pub(crate) mod fields_table;
pub(crate) mod register_table;
pub(crate) mod values;
