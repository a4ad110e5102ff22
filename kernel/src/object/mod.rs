//! The objects of the kernel (VMs, VPs, VSs), their ids, and the tables that hold them.

pub(crate) mod objects;
pub(crate) mod table;
