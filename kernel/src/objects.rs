//! The objects that ids name: VMs, VPs and VSs.

use plinth_hal::page_table::PageTable;
use plinth_hal::{Arch, IdPolicy};

use crate::handle::Id;

/// A guest-physical address space and what belongs to it.
pub(crate) struct Vm<A: Arch> {
    pub(crate) nested: PageTable<A::NestedFormat>,
    pub(crate) hw: A::Vm,
    /// Tells its TLB entries from other VMs'.
    pub(crate) tag: u16,
    pub(crate) policy: IdPolicy,
    pub(crate) vps: usize,
    /// Pages of the extension mapped in it: each must be unmapped before it can go.
    pub(crate) mapped_pages: usize,
}

/// A virtual processor.
pub(crate) struct Vp {
    pub(crate) vm: Id,
    pub(crate) vss: usize,
}

/// One register state of a VP.
pub(crate) struct Vs<A: Arch> {
    pub(crate) hw: A::Vs,
    pub(crate) vm: Id,
    pub(crate) vp: Id,
    /// The PP that it runs on.
    pub(crate) pp: usize,
    pub(crate) state: VsState,
    /// It took the state of the OS on its PP.
    pub(crate) is_root: bool,
}

/// Whether a VS can run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum VsState {
    /// It can.
    Runnable,
    /// It was reset and waits for a start.
    WaitsForStart,
    /// The hardware refuses its state.
    Broken,
}
