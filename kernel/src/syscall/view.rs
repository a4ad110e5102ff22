//! Views: further permissions for a VM's memory, from which each of its VSs uses one set.
//!
//! A view starts as a copy of the VM's own tables. What is mapped and where it leads stays the same in all of them;
//! what may be done with it is each one's own. They share the VM's TLB tag: a VS that changes from one to another
//! flushes, and so does a VS that becomes active.

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::page_table::PoolTables;
use plinth_hal::{Arch, Spa, UserContext, VsHw};

use super::{Answer, DONE, about};
use crate::ipi::shootdown::Forgotten;
use crate::kernel::Kernel;
use crate::object::objects::{View, Vm, Vs};
use crate::object::table::Id;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Makes a view of a VM.
    pub(super) fn vm_view_create(&mut self) -> Answer {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let created = self.kernel.vms.with(self.id(1), |vm| {
            let tables = &mut PoolTables { memory, frames: &mut frames };
            let nested = vm.nested.copy(tables).map_err(|_| Error::OutOfMemory)?;
            vm.views.insert(View { nested, users: 0 }).map_err(|view| {
                view.nested.destroy(tables);
                Error::OutOfObjects
            })
        });
        let id = created.map_err(about(1))??;
        Ok([id.raw() + 1, 0])
    }

    /// Removes a view that no VS uses.
    pub(super) fn vm_view_destroy(&mut self) -> Answer {
        let unused = |view: &View<A>| if view.users == 0 { Ok(()) } else { Err(Error::Busy) };
        let view = self.view(2)?.ok_or(Failure::argument(2, Error::Denied))?;
        let vm = self.id(1);
        let removed = self.kernel.vms.with(vm, |vm| vm.views.remove(view, unused));
        let removed = removed.map_err(about(1))?.map_err(about(2))?;
        // Where a lost PP may hold its tables, they stay the kernel's.
        let _: Forgotten = self.flush_everywhere(vm)?;
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        removed.nested.destroy(&mut PoolTables { memory, frames: &mut frames });
        DONE
    }

    /// Makes a VS see memory by a view of its VM.
    pub(super) fn vs_set_view(&mut self) -> Answer {
        let (id, view, kernel) = (self.id(1), self.view(2)?, self.kernel);
        match &mut self.active {
            Some(active) if active.id == id => kernel.set_view(&mut active.vs, view)?,
            _ => kernel.vss.with(id, |vs| kernel.set_view(vs, view)).map_err(about(1))??,
        }
        DONE
    }

    /// The view in an argument: none for the VM's own tables.
    pub(super) fn view(&self, register: u8) -> Result<Option<Id>, Failure> {
        Ok(self.user.argument(usize::from(register)).checked_sub(1).map(Id::from_raw))
    }
}

impl<A: Arch> Kernel<A> {
    fn set_view(&self, vs: &mut Vs<A>, view: Option<Id>) -> Result<(), Failure> {
        let root = self.vms.with(vs.vm, |vm| take_root(vm, view)).map_err(about(1))?.map_err(about(2))?;
        self.leave_view(vs);
        vs.view = view;
        vs.hw.set_nested_root(root);
        Ok(())
    }

    /// A VS does not use its view any more.
    pub(crate) fn leave_view(&self, vs: &mut Vs<A>) {
        if let Some(view) = vs.view.take() {
            let _ = self
                .vms
                .with(vs.vm, |vm| vm.views.with(view, |view| view.users = view.users.saturating_sub(1)));
        }
    }
}

/// Where the tables of a view start, for one more VS that uses it.
fn take_root<A: Arch>(vm: &mut Vm<A>, view: Option<Id>) -> Result<Spa, Error> {
    let Some(view) = view else { return Ok(vm.nested.root()) };
    vm.views.with(view, |view| {
        view.users = view.users.saturating_add(1);
        view.nested.root()
    })
}
