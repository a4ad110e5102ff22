//! The objects that ids name: VMs, VPs and VSs.

use plinth_hal::page_table::PageTable;
use plinth_hal::{Arch, IdPolicy};

use crate::object::table::{Id, Table};

/// A guest-physical address space and what belongs to it.
pub(crate) struct Vm<A: Arch> {
    pub(crate) nested: PageTable<A::NestedFormat>,
    pub(crate) hw: A::Vm,
    /// Tells its TLB entries from other VMs'.
    pub(crate) tag: u16,
    pub(crate) policy: IdPolicy,
    /// Other tables for the same memory, which some of its VSs use instead.
    pub(crate) views: Table<View<A>, MAX_VIEWS>,
    pub(crate) vps: usize,
    /// Pages of the extension mapped in it: each must be unmapped before it can go.
    pub(crate) mapped_pages: usize,
}

/// A second set of permissions for a VM's memory.
pub(crate) struct View<A: Arch> {
    pub(crate) nested: PageTable<A::NestedFormat>,
    /// VSs that use it.
    pub(crate) users: usize,
}

/// The most views of a VM besides its own tables.
pub(crate) const MAX_VIEWS: usize = plinth_extension_api::abi::MAX_VIEWS as usize;

impl<A: Arch> Vm<A> {
    /// A VM without views, VPs and declared answers.
    pub(crate) fn new(nested: PageTable<A::NestedFormat>, hw: A::Vm, tag: u16) -> Self {
        Self { nested, hw, tag, policy: IdPolicy::new(), views: Table::new(), vps: 0, mapped_pages: 0 }
    }

    /// Works on all tables of the VM, its own first, until one fails.
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
    /// The PP that it runs on.
    pub(crate) pp: usize,
    pub(crate) state: VsState,
    /// The view by which it sees memory; none for the VM's own tables.
    pub(crate) view: Option<Id>,
    /// The extension wants an exit after each of its instructions.
    pub(crate) stepping: bool,
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
