//! The objects that ids name: VM, view, VP and VS.

use plinth_hal::page_table::PageTable;
use plinth_hal::{Arch, IdPolicy};

use crate::object::table::{Id, Table};

/// A guest-physical address space and everything that belongs to it.
pub(crate) struct Vm<A: Arch> {
    pub(crate) nested: PageTable<A::NestedFormat>,
    pub(crate) hw: A::Vm,
    /// Separates the VM's TLB entries from those of other VMs (ASID, VPID, VMID).
    pub(crate) tag: u16,
    pub(crate) policy: IdPolicy,
    /// The view that the VS uses; `None` for the VM's own tables.
    pub(crate) views: Table<View<A>, MAX_VIEWS>,
    pub(crate) vps: usize,
    /// The number of extension pages mapped in the VM. It must be 0 before the VM can be destroyed.
    pub(crate) mapped_pages: usize,
}

/// A second set of permissions for a VM's memory.
pub(crate) struct View<A: Arch> {
    pub(crate) nested: PageTable<A::NestedFormat>,
    /// The number of VSs that use the view.
    pub(crate) users: usize,
}

/// The maximum number of views besides the VM's own tables.
pub(crate) const MAX_VIEWS: usize = plinth_extension_api::abi::MAX_VIEWS as usize;

impl<A: Arch> Vm<A> {
    /// A VM without views, VPs and declared answers.
    pub(crate) fn new(nested: PageTable<A::NestedFormat>, hw: A::Vm, tag: u16) -> Self {
        Self { nested, hw, tag, policy: IdPolicy::new(), views: Table::new(), vps: 0, mapped_pages: 0 }
    }

    /// Calls `work` on all nested tables of the VM, its own first, until one call fails.
    pub(crate) fn each_table<E>(
        &mut self,
        mut work: impl FnMut(&mut PageTable<A::NestedFormat>) -> Result<(), E>,
    ) -> Result<(), E> {
        work(&mut self.nested)?;
        self.views.each(|view| work(&mut view.nested))
    }
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
    /// The PP that the VS runs on.
    pub(crate) pp: usize,
    pub(crate) state: VsState,
    /// The view by which it sees memory; none for the VM's own tables.
    pub(crate) view: Option<Id>,
    /// The extension single-steps the VS: an exit after each instruction.
    pub(crate) stepping: bool,
    /// The VS took over the state of the OS at the launch of its PP.
    pub(crate) is_root: bool,
}

/// Whether a VS can run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum VsState {
    /// Can run.
    Runnable,
    /// Was reset and waits for a start (x86: wait-for-SIPI).
    WaitsForStart,
    /// The hardware refuses its state.
    Broken,
}
