//! What the machine consists of: the device tree, RAM, private interrupts and the spin tables that processors start from.
//! All of it only computes.

pub(crate) mod device_tree;
pub(crate) mod private_interrupts;
pub(crate) mod ram_map;
pub(crate) mod spin_table;
