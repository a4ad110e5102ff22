//! What a VM may do with memory that it has: by its own tables or by a view, all of the range or nothing.
//!
//! A change of a small range splits large leaves. What comes back to what its surroundings are is merged again, so that
//! whoever takes pages away and gives them back does not use up the pool.

use core::ops::Range;

use plinth_extension_api::abi::{Error, Failure, ROOT_VM};
use plinth_hal::page_table::{
    Attributes, InputAddress, MapError, MemoryType, PageTable, Permissions, PoolTables, TableMemory,
};
use plinth_hal::{Arch, Spa, UserContext};

use super::vm_memory::{Input, LARGE, bad, map_failure, permissions};
use super::{Answer, DONE, about};
use crate::memory::deferred_free::DeferredFree;
use crate::memory::nested::Broadcast;
use crate::object::table::Id;
use crate::pp::Pp;

/// In how many bytes tables are merged at a time: what that gives back has room in [`DeferredFree`].
pub(crate) const MERGED: u64 = 16 * LARGE;

/// One change of permissions.
#[derive(Clone, Copy)]
struct Change {
    gpa: u64,
    size: u64,
    permissions: Permissions,
}

impl<A: Arch> Pp<'_, A> {
    /// Changes what a VM may do with memory that it has, by its own tables. The root VM's can only lose: its own map
    /// gives all.
    pub(super) fn vm_protect(&mut self) -> Answer {
        self.protect(None, 2)
    }

    /// Changes what a VM may do with memory that it has, by a view.
    pub(super) fn vm_view_protect(&mut self) -> Answer {
        let view = self.view(2)?.ok_or(Failure::argument(2, Error::Denied))?;
        self.protect(Some(view), 3)
    }

    /// Changes permissions; address, size and permissions are the arguments from REG`first` on.
    fn protect(&mut self, view: Option<Id>, first: u8) -> Answer {
        let (vm, gpa) = (self.id(1), self.user.argument(usize::from(first)));
        let size = self.range(first, gpa, first + 1)?;
        let permissions = permissions(self.user.argument(usize::from(first) + 2)).ok_or(bad(first + 2))?;
        if vm.raw() == ROOT_VM && !self.is_roots_own(gpa, size) {
            return Err(Failure::argument(first, Error::Denied));
        }
        let change = Change { gpa, size, permissions };
        let mut done = Ok(());
        // One round is usual: its flush serves the change and the merging.
        for start in (gpa..gpa.saturating_add(size)).step_by(MERGED as usize) {
            let round = gpa == start;
            let piece = start..start.saturating_add(MERGED).min(gpa.saturating_add(size));
            let changed = self.change_and_merge(vm, view, round.then_some(change), piece)?;
            done = done.and(changed);
        }
        done.map_err(|error| map_failure(first, error))?;
        DONE
    }

    /// Carries out `change`, if there is one, and merges within `range`, whether that has worked or not.
    fn change_and_merge(
        &self,
        vm: Id,
        view: Option<Id>,
        change: Option<Change>,
        range: Range<u64>,
    ) -> Result<Result<(), MapError>, Failure> {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let mut detached = DeferredFree::new(&mut frames);
        let mut edit = |table: &mut PageTable<A::NestedFormat>| {
            let tables = &mut PoolTables { memory, frames: &mut detached };
            let changed = change.map_or(Ok(()), |change| change.carry_out::<A>(table, tables, &self.cpu));
            let (at, size) = (Input::<A>::from_raw(range.start), range.end.saturating_sub(range.start));
            // Refused only where the range is, which then has been said already.
            let _ = table.merge_along(tables, &mut Broadcast(&self.cpu), at, size);
            changed
        };
        let changed = self.kernel.vms.with(vm, |vm| match view {
            None => Ok(edit(&mut vm.nested)),
            Some(view) => vm.views.with(view, |view| edit(&mut view.nested)),
        });
        let changed = changed.map_err(about(1))?.map_err(about(2))?;
        if change.is_none() && detached.is_empty() {
            return Ok(changed);
        }
        let flushed = self.flush_everywhere(vm).map_err(Failure::from);
        let flushed = flushed.and_then(|forgotten| self.release_tables(detached, &forgotten));
        match changed {
            Ok(()) => flushed.map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Whether a range of the root VM is the extension's to decide: not the hypervisor's, nor a page whose
    /// writes the kernel must see.
    fn is_roots_own(&self, gpa: u64, size: u64) -> bool {
        let start = Spa::new(gpa);
        let own = [self.machine.reservation, self.machine.low_page];
        !own.iter().any(|own| own.overlaps(start, size)) && !self.machine.trapped.overlap(start, size)
    }
}

impl Change {
    /// Changes permissions and nothing else: each piece of the range keeps its memory type. All that can fail comes first.
    fn carry_out<A: Arch>(
        self,
        table: &mut PageTable<A::NestedFormat>,
        tables: &mut impl TableMemory,
        cpu: &A::Cpu,
    ) -> Result<(), MapError> {
        self.each_type::<A, _>(table, tables, |table, tables, at, size, attributes| {
            table.prepare_protect(tables, &mut Broadcast(cpu), at, size, attributes)
        })?;
        self.each_type::<A, _>(table, tables, |table, tables, at, size, attributes| {
            table.protect(tables, &mut Broadcast(cpu), at, size, attributes)
        })
    }

    /// Works on the pieces of the range that have one memory type.
    fn each_type<A: Arch, M: TableMemory>(
        self,
        table: &mut PageTable<A::NestedFormat>,
        tables: &mut M,
        mut work: impl FnMut(
            &mut PageTable<A::NestedFormat>,
            &mut M,
            Input<A>,
            u64,
            Attributes,
        ) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        let end = self.gpa.saturating_add(self.size);
        let mut start = self.gpa;
        while start < end {
            let (memory, same_until) = same_type::<A>(table, tables, start, end);
            // Where something is not mapped the engine says what is wrong with the whole.
            let (from, until) = same_until.map_or((self.gpa, end), |until| (start, until));
            let attributes = Attributes::new(self.permissions, memory);
            work(table, tables, Input::<A>::from_raw(from), until.saturating_sub(from), attributes)?;
            start = until;
        }
        Ok(())
    }
}

/// The memory type at `start`, and how far it is the same; `None` where something is not mapped.
fn same_type<A: Arch>(
    table: &PageTable<A::NestedFormat>,
    tables: &impl TableMemory,
    start: u64,
    end: u64,
) -> (MemoryType, Option<u64>) {
    let mut memory = None;
    let mut at = start;
    while at < end {
        let Some(mapping) = table.query(tables, Input::<A>::from_raw(at)) else {
            return (MemoryType::WriteBack, None);
        };
        if *memory.get_or_insert(mapping.attributes.memory) != mapping.attributes.memory {
            break;
        }
        at = mapping.end(at);
    }
    (memory.unwrap_or_default(), Some(at.min(end)))
}
