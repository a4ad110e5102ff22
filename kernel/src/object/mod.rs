//! What the extension's ids name: VMs, VPs and VSs, and the tables that hold them.

pub(crate) mod objects;
pub(crate) mod table;
