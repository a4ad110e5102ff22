//! Stage 2 on the processors: invalidation of TLBs, and the shootdown that takes a translation from a running guest.

pub(crate) mod shootdown;
pub(crate) mod tlb;
