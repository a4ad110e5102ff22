//! Nested paging: which memory a VM sees. The kernel owns the tables; the extension says what goes into them.

use plinth_extension_api::abi::{
    Error, Failure, MAX_RANGE, MEMORY_TYPES, Permissions as AbiPermissions, ROOT_VM,
};
use plinth_hal::page_table::{
    Attributes, InputAddress, MapError, MemoryType, NotLoaded, PageTable, Permissions, PoolTables, PtFormat,
    TableMemory,
};
use plinth_hal::{Arch, PAGE_SIZE, PhysicalMemory, Spa, UserContext};

use super::{Answer, DONE, about};
use crate::detached::Detached;
use crate::handle::Id;
use crate::mailbox::FLUSH;
use crate::nested::Broadcast;
use crate::pp::Pp;
use crate::processors::Forgotten;
use crate::wait::Unheard;

/// Bytes of the leaves that a mapping is made of where it can be.
const LARGE: u64 = 2 << 20;

type Input<A> = <<A as Arch>::NestedFormat as PtFormat>::Input;

impl<A: Arch> Pp<'_, A> {
    /// Maps pages that the extension allocated into a VM.
    pub(super) fn vm_map(&mut self) -> Answer {
        let (vm, gpa, from) = (self.id(1), self.user.argument(2), self.user.argument(3));
        let size = self.range(2, gpa, 4)?;
        let attributes = attributes(self.user.argument(5)).ok_or(bad(5))?;
        if vm.raw() == ROOT_VM {
            return Err(Failure::argument(1, Error::Denied));
        }
        let mut done = 0;
        while done < size {
            let at = from.checked_add(done).filter(|at| at % PAGE_SIZE == 0).ok_or(bad(3))?;
            match self.map_piece(vm, gpa + done, at, size - done, attributes) {
                Ok(mapped) => done += mapped,
                Err(failure) => {
                    let _ = self.unmap_pages(vm, gpa, done);
                    return Err(failure);
                }
            }
        }
        DONE
    }

    /// Maps the next large leaf where there can be one, else the next page. Returns the bytes.
    fn map_piece(
        &mut self,
        vm: Id,
        gpa: u64,
        at: u64,
        rest: u64,
        attributes: Attributes,
    ) -> Result<u64, Failure> {
        let (frame, _) = self.user_frame(at).ok_or(Failure::argument(3, Error::NotMapped))?;
        let large = rest >= LARGE && gpa.is_multiple_of(LARGE) && frame.is_aligned(LARGE);
        let last = at.checked_add(LARGE - PAGE_SIZE).filter(|_| large);
        // The extension sees its pages in the order of their frames: where the last is mapped at its place, all may be.
        let size = if last.is_some_and(|last| self.user_frame(last).is_some()) { LARGE } else { PAGE_SIZE };
        let pages = (size / PAGE_SIZE) as usize;
        let counted = self.kernel.frames.lock()?.count_mappings(frame, pages);
        match counted {
            Ok(()) => {}
            Err(_) if size == LARGE => return self.map_piece(vm, gpa, at, PAGE_SIZE, attributes),
            Err(error) => return Err(Failure::argument(3, error)),
        }
        // The guest chooses how it reads: past the caches too.
        self.machine.memory.write_back(frame, size);
        let result = self.map_frames(vm, gpa, frame, size, attributes);
        if result.is_err() {
            self.kernel.frames.lock()?.uncount_mappings(frame, pages);
        }
        result.map(|()| size)
    }

    fn map_frames(
        &mut self,
        vm: Id,
        gpa: u64,
        frame: Spa,
        size: u64,
        attributes: Attributes,
    ) -> Result<(), Failure> {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let mut detached = Detached::new(&mut frames);
        let mapped = self.kernel.vms.with(vm, |vm| {
            let tables = &mut PoolTables { memory, frames: &mut detached };
            let at = Input::<A>::from_raw(gpa);
            let mut done = 0;
            let mapped = vm.each_table(|table| {
                table.map(tables, &mut NotLoaded, at, frame, size, attributes)?;
                done += 1;
                Ok(())
            });
            if let Err(error) = mapped {
                let _ = vm.each_table(|table| {
                    // Those that had it mapped by now, and no other.
                    done = usize::checked_sub(done, 1).ok_or(error)?;
                    table.unmap(tables, &mut NotLoaded, at, size)
                });
                return Err(error);
            }
            vm.mapped_pages += (size / PAGE_SIZE) as usize;
            Ok(())
        });
        // What was mapped is; tables that a lost PP may hold stay the kernel's.
        let _ = self.forget_tables(vm, detached);
        mapped.map_err(about(1)).and_then(|mapped| mapped.map_err(|error| map_failure(2, error)))
    }

    /// Takes mapped pages out of a VM again.
    pub(super) fn vm_unmap(&mut self) -> Answer {
        let (vm, gpa) = (self.id(1), self.user.argument(2));
        let size = self.range(2, gpa, 3)?;
        if vm.raw() == ROOT_VM {
            return Err(Failure::argument(1, Error::Denied));
        }
        self.check_mapped(vm, gpa, size)?;
        self.unmap_pages(vm, gpa, size)?;
        DONE
    }

    fn check_mapped(&self, vm: Id, gpa: u64, size: u64) -> Result<(), Failure> {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let mapped = self.kernel.vms.with(vm, |vm| {
            let tables = &PoolTables { memory, frames: &mut frames };
            let page = |offset| vm.nested.query(tables, Input::<A>::from_raw(gpa + offset)).is_some();
            (0..size).step_by(PAGE_SIZE as usize).all(page)
        });
        if mapped.map_err(about(1))? { Ok(()) } else { Err(Failure::argument(2, Error::NotMapped)) }
    }

    /// Unmaps leaf by leaf what is mapped, and lets each frame go once no PP can reach it any more. One that a lost PP may reach
    /// stays counted as mapped, and so is nobody's to give away.
    fn unmap_pages(&mut self, vm: Id, gpa: u64, size: u64) -> Result<(), Failure> {
        let memory = self.machine.memory;
        let mut done = 0;
        while done < size {
            let mut frames = self.kernel.kernel_frames(memory);
            let mut detached = Detached::new(&mut frames);
            let gone = self.kernel.vms.with(vm, |vm| {
                let at = Input::<A>::from_raw(gpa + done);
                let tables = &mut PoolTables { memory, frames: &mut detached };
                let leaf = vm.nested.query(tables, at).ok_or(MapError::NotMapped(gpa + done))?;
                let whole = (gpa + done).is_multiple_of(leaf.size) && leaf.size <= size - done;
                let piece = if whole { leaf.size } else { PAGE_SIZE };
                vm.each_table(|table| table.unmap(tables, &mut Broadcast(&self.cpu), at, piece))?;
                vm.mapped_pages -= (piece / PAGE_SIZE) as usize;
                Ok((leaf.spa, piece))
            });
            let forgotten = self.flush_everywhere(vm)?;
            self.release_tables(detached, &forgotten)?;
            let (frame, piece) = gone.map_err(about(1))?.map_err(|error| map_failure(2, error))?;
            self.kernel.frames.lock()?.uncount_mappings(frame, (piece / PAGE_SIZE) as usize);
            done += piece;
        }
        Ok(())
    }

    /// Frees tables of a VM that are linked no more, once every PP has forgotten them.
    ///
    /// # Errors
    /// They may still be reached, or the pool cannot: they stay the kernel's for good.
    pub(crate) fn forget_tables(&self, vm: Id, detached: Detached<'_, '_, A::Memory>) -> Result<(), Failure> {
        if !detached.is_empty() {
            let forgotten = self.flush_everywhere(vm)?;
            self.release_tables(detached, &forgotten)?;
        }
        Ok(())
    }

    fn release_tables(&self, detached: Detached<'_, '_, A::Memory>, _: &Forgotten) -> Result<(), Failure> {
        let mut pool = self.kernel.frames.lock()?;
        detached.take().for_each(|table| pool.release(table, 1));
        Ok(())
    }

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
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let mut change = |table: &mut PageTable<A::NestedFormat>| {
            let tables = &mut PoolTables { memory, frames: &mut frames };
            protect_table::<A>(table, tables, &self.cpu, gpa, size, permissions)
        };
        let done = self.kernel.vms.with(vm, |vm| match view {
            None => Ok(change(&mut vm.nested)),
            Some(view) => vm.views.with(view, |view| change(&mut view.nested)),
        });
        let done = done.map_err(about(1))?.map_err(about(2))?;
        let flushed = self.flush_everywhere(vm);
        done.map_err(|error| map_failure(first, error))?;
        let _: Forgotten = flushed?;
        DONE
    }

    /// Whether a range of the root VM is the extension's to decide: not the hypervisor's, nor a page whose
    /// writes the kernel must see.
    fn is_roots_own(&self, gpa: u64, size: u64) -> bool {
        let overlaps = |start: u64, end: u64| gpa < end && start < gpa + size;
        let trapped = self.machine.trapped_page.map(Spa::raw);
        let own = [self.machine.reservation, self.machine.low_page];
        !own.iter().any(|own| overlaps(own.start.raw(), own.end().raw()))
            && !trapped.is_some_and(|page| overlaps(page, page + PAGE_SIZE))
    }

    /// What a VM may do at a guest-physical address, by its own tables.
    pub(super) fn vm_query(&mut self) -> Answer {
        self.query(None, 2)
    }

    /// What a VM may do at a guest-physical address, by a view.
    pub(super) fn vm_view_query(&mut self) -> Answer {
        let view = self.view(2)?.ok_or(Failure::argument(2, Error::Denied))?;
        self.query(Some(view), 3)
    }

    fn query(&mut self, view: Option<Id>, register: u8) -> Answer {
        let gpa = self.user.argument(usize::from(register));
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let mut look = |table: &PageTable<A::NestedFormat>| {
            table.query(&PoolTables { memory, frames: &mut frames }, Input::<A>::from_raw(gpa))
        };
        let found = self.kernel.vms.with(self.id(1), |vm| match view {
            None => Ok(look(&vm.nested)),
            Some(view) => vm.views.with(view, |view| look(&view.nested)),
        });
        let found = found.map_err(about(1))?.map_err(about(2))?;
        let mapping = found.ok_or(Failure::argument(register, Error::NotMapped))?;
        let Attributes { permissions, memory } = mapping.attributes;
        Ok([u64::from(permissions.bits() & 7) | memory as u64, mapping.size])
    }

    /// The size in REG`register`, if it makes a range with `start` in REG`start_register`.
    fn range(&self, start_register: u8, start: u64, register: u8) -> Result<u64, Failure> {
        let size = self.user.argument(usize::from(register));
        if !start.is_multiple_of(PAGE_SIZE) || start.checked_add(size).is_none() {
            return Err(bad(start_register));
        }
        if size == 0 || size > MAX_RANGE || !size.is_multiple_of(PAGE_SIZE) {
            return Err(bad(register));
        }
        Ok(size)
    }

    /// Makes every PP forget what it holds of a VM's nested tables; this one before its next entry.
    ///
    /// Not while the VM is locked: a PP that is waited for may need that lock to decode an instruction before it
    /// leaves its guest.
    ///
    /// # Errors
    /// [`Unheard`]: a PP that is lost may still use them.
    pub(crate) fn flush_everywhere(&self, vm: Id) -> Result<Forgotten, Unheard> {
        self.mailbox.post(FLUSH);
        self.kernel.shoot_down(vm, self.index, &self.cpu)
    }
}

fn bad(register: u8) -> Failure {
    Failure::argument(register, Error::InvalidArgument)
}

/// Permissions and memory type.
fn attributes(raw: u64) -> Option<Attributes> {
    Some(Attributes::new(permissions(raw & !MEMORY_TYPES)?, MemoryType::of_flags(raw)?))
}

fn permissions(raw: u64) -> Option<Permissions> {
    let wanted = AbiPermissions::from_bits(raw)?;
    let mut permissions = Permissions::empty();
    permissions.set(Permissions::READ, wanted.contains(AbiPermissions::READ));
    permissions.set(Permissions::WRITE, wanted.contains(AbiPermissions::WRITE));
    permissions.set(Permissions::EXECUTE, wanted.contains(AbiPermissions::EXECUTE));
    Some(permissions)
}

/// Changes permissions and nothing else: each piece of the range keeps its memory type.
///
/// Fails before it changes anything, but for frames that run out where the range has several memory types.
fn protect_table<A: Arch>(
    table: &mut PageTable<A::NestedFormat>,
    tables: &mut impl TableMemory,
    cpu: &A::Cpu,
    gpa: u64,
    size: u64,
    permissions: Permissions,
) -> Result<(), MapError> {
    let end = gpa + size;
    let mut start = gpa;
    while start < end {
        let (memory, same_until) = same_type::<A>(table, tables, start, end);
        // Where something is not mapped the engine says what is wrong with the whole.
        let (from, until) = same_until.map_or((gpa, end), |until| (start, until));
        let attributes = Attributes::new(permissions, memory);
        table.protect(tables, &mut Broadcast(cpu), Input::<A>::from_raw(from), until - from, attributes)?;
        start = until;
    }
    Ok(())
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
        at = (at / mapping.size + 1) * mapping.size;
    }
    (memory.unwrap_or_default(), Some(at.min(end)))
}

/// What a failure of the engine means for a call whose guest-physical address is REG`register`.
fn map_failure(register: u8, error: MapError) -> Failure {
    match error {
        MapError::AlreadyMapped(_) => Failure::argument(register, Error::AlreadyMapped),
        MapError::NotMapped(_) => Failure::argument(register, Error::NotMapped),
        MapError::Misaligned | MapError::OutOfRange => Failure::argument(register, Error::InvalidArgument),
        MapError::Unsupported(_) => Error::Unsupported.into(),
        MapError::OutOfFrames => Error::OutOfMemory.into(),
    }
}
