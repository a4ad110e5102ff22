//! Memory: the pool's frames, the host's address space, the memory of VMs, and frames on their way back to the pool.

pub(crate) mod deferred_free;
pub(crate) mod frames;
pub(crate) mod guest_memory;
pub(crate) mod host_space;
pub(crate) mod nested;
pub(crate) mod trapped;
