//! The root VM's nested tables have the machine's memory types, also after those have changed.
//!
//! Where nested paging combines its own types with the machine's there is nothing to follow; Intel's EPT does not look at
//! the MTRRs, which the root VM may write. Only the types change here: what may be done with memory stays as the
//! extension has it, in the VM's own tables and in each view.

use core::ops::Range;
use core::sync::atomic::Ordering;

use plinth_extension_api::abi::ROOT_VM;
use plinth_hal::page_table::{
    Attributes, InputAddress, MapError, PageTable, PoolTables, PtFormat, TableMemory, TlbSink,
};
use plinth_hal::{Arch, Exit, MEMORY_TYPES, Spa, VsHw};

use crate::memory::deferred_free::DeferredFree;
use crate::memory::nested::{Broadcast, GIB};
use crate::object::objects::Vm;
use crate::object::table::Id;
use crate::pp::{Next, Pp};

const LARGE: u64 = 2 << 20;

type Table<A> = PageTable<<A as Arch>::NestedFormat>;
type Input<A> = <<A as Arch>::NestedFormat as PtFormat>::Input;

impl<A: Arch> Pp<'_, A> {
    /// Cache control that the backend has carried out, but for what it means to the root VM's map.
    #[cold]
    #[inline(never)]
    pub(crate) fn cache_control(&mut self, exit: Exit) -> Option<Next> {
        if exit.detail == MEMORY_TYPES {
            match self.retype_root() {
                Ok(()) => self.follow_memory_types(),
                Err(error) => self.refuse_memory_types(error),
            }
            // A PP that is lost may use the old types still, and is named in the log.
            let _ = self.flush_everywhere(Id::from_raw(ROOT_VM));
            self.merge_root();
        }
        None
    }

    fn follow_memory_types(&mut self) {
        log::info!("pp {}: memory types have changed; the root VM's map follows", self.index);
        self.skip_instruction();
    }

    /// The map has the types before again: what was split for the new ones has all tables that this takes.
    fn refuse_memory_types(&mut self, error: MapError) {
        let Some(active) = &mut self.active else { return };
        active.vs.hw.refuse_memory_types();
        let undone = self.retype_root();
        if !self.kernel.refused_types.swap(true, Ordering::Relaxed) {
            log::error!(
                "pp {}: the root VM's map cannot follow new memory types ({error:?}), and the write is refused ({undone:?}); \
                 give Plinth more memory; more are not logged",
                self.index
            );
        }
    }

    /// Gives all of the root VM's memory the type that it has now. Goes on where one piece fails.
    fn retype_root(&self) -> Result<(), MapError> {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let mut result = Ok(());
        for start in (0..self.machine.physical_end).step_by(GIB as usize) {
            let _ = self.kernel.vms.with(Id::from_raw(ROOT_VM), |vm| {
                vm.each_table(|table| {
                    let tables = &mut PoolTables { memory, frames: &mut frames };
                    let tlb = &mut Broadcast(&self.cpu);
                    result =
                        retype::<A>(table, tables, tlb, memory, start..start.saturating_add(GIB)).and(result);
                    Ok::<(), MapError>(())
                })
            });
        }
        result
    }

    /// Undoes the splits that no type asks for any more: whoever changes types back and forth must not use up the pool.
    fn merge_root(&self) {
        for start in (0..self.machine.physical_end).step_by(GIB as usize) {
            if self.is_split(start, GIB) {
                let split = |at: &u64| self.is_split(*at, LARGE);
                (start..start.saturating_add(GIB))
                    .step_by(LARGE as usize)
                    .filter(split)
                    .for_each(|at| self.merge(at, LARGE));
                self.merge(start, GIB);
            }
        }
    }

    /// Whether some table maps the `size` bytes from `at` on in smaller leaves.
    fn is_split(&self, at: u64, size: u64) -> bool {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let tables = &PoolTables { memory, frames: &mut frames };
        let mut split = false;
        let _ = self.kernel.vms.with(Id::from_raw(ROOT_VM), |vm| {
            vm.each_table(|table| {
                split |= table.query(tables, input::<A>(at)).is_some_and(|leaf| leaf.size < size);
                Ok::<(), MapError>(())
            })
        });
        split
    }

    /// Puts one leaf for `size` bytes from `at` on into each table that can have it, then frees what that replaces.
    fn merge(&self, at: u64, size: u64) {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let mut detached = DeferredFree::new(&mut frames);
        let merge = |vm: &mut Vm<A>| {
            let tables = &mut PoolTables { memory, frames: &mut detached };
            vm.each_table(|table| table.merge(tables, &mut Broadcast(&self.cpu), input::<A>(at), size))
        };
        let _ = self.kernel.vms.with(Id::from_raw(ROOT_VM), merge);
        let _ = self.forget_tables(Id::from_raw(ROOT_VM), detached);
    }
}

/// Gives what a table of the root VM's maps one to one within `range`, a GiB or less, the type that it has now.
///
/// # Errors
/// [`MapError::OutOfFrames`] where a leaf has two types and cannot be split; what came before has its type.
pub(crate) fn retype<A: Arch>(
    table: &mut Table<A>,
    tables: &mut impl TableMemory,
    tlb: &mut impl TlbSink<Input<A>>,
    memory: A::Memory,
    range: Range<u64>,
) -> Result<(), MapError> {
    let mut at = range.start;
    // A GiB is mapped as a whole or not at all.
    while at < range.end
        && let Some(leaf) = table.query(tables, input::<A>(at))
    {
        let (kind, same_until) = A::memory_type(memory, Spa::new(at));
        let until = leaf.end(at).min(same_until.raw()).min(range.end);
        let Some(size) = until.checked_sub(at).filter(|size| *size != 0) else { break };
        // The hypervisor's own memory is not mapped one to one.
        if leaf.spa.raw() == at && leaf.attributes.memory != kind {
            let attributes = Attributes::new(leaf.attributes.permissions, kind);
            table.protect(tables, tlb, input::<A>(at), size, attributes)?;
        }
        at = until;
    }
    Ok(())
}

fn input<A: Arch>(at: u64) -> Input<A> {
    InputAddress::from_raw(at)
}
