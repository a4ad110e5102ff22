//! System calls that change which memory a VM sees. The kernel owns the nested tables; the extension chooses
//! the mappings.
//!
//! An unmap runs in this order: split leaves that cross the ends of the range, unmap under the lock of the
//! VM, shoot down the TLBs of all PPs without the lock, and only then release frames and tables. So no PP can
//! reach a page that has been released.

use plinth_extension_api::abi::{
    Error, Failure, MAX_RANGE, MEMORY_TYPES, Permissions as AbiPermissions, ROOT_VM,
};
use plinth_hal::page_table::{
    Attributes, InputAddress, MapError, MemoryType, NotLoaded, PageTable, Permissions, PoolTables, PtFormat,
};
use plinth_hal::{Arch, PAGE_SIZE, PhysicalMemory, Spa, UserContext};

use super::{Answer, DONE, about};
use crate::ipi::mailbox::FLUSH;
use crate::ipi::shootdown::Forgotten;
use crate::ipi::wait::Unheard;
use crate::memory::deferred_free::DeferredFree;
use crate::memory::nested::Broadcast;
use crate::object::objects::Vm;
use crate::object::table::Id;
use crate::pp::Pp;

/// Bytes of the leaves that a mapping is made of where it can be.
pub(super) const LARGE: u64 = 2 << 20;

/// A VM's tables in the pool, where those that are given back are set aside.
type Tables<'t, 'd, 'p, A> = PoolTables<'t, <A as Arch>::Memory, DeferredFree<'d, 'p, <A as Arch>::Memory>>;

pub(super) type Input<A> = <<A as Arch>::NestedFormat as PtFormat>::Input;

/// An unmapped piece. The caller releases its frames after the shootdown.
struct Gone {
    frame: Spa,
    size: u64,
}

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
            match self.map_piece(vm, gpa.wrapping_add(done), at, size.saturating_sub(done), attributes) {
                Ok(mapped) => done = done.saturating_add(mapped),
                Err(failure) => {
                    if done != 0 {
                        let _ = self.unmap_pages(vm, gpa, done);
                    }
                    return Err(failure);
                }
            }
        }
        DONE
    }

    /// Maps the next large leaf if possible, else the next page. Returns its size in bytes.
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
        // The guest may read uncached.
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
        let mut detached = DeferredFree::new(&mut frames);
        let mapped = self.kernel.vms.with(vm, |vm| {
            let tables = &mut PoolTables { memory, frames: &mut detached };
            let at = Input::<A>::from_raw(gpa);
            let mut done = 0;
            let mapped = vm.each_table(|table| {
                table.map(tables, &mut NotLoaded, at, frame, size, attributes)?;
                done = usize::saturating_add(done, 1);
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
            vm.mapped_pages = vm.mapped_pages.saturating_add((size / PAGE_SIZE) as usize);
            Ok(())
        });
        // What was mapped is; tables that a lost PP may hold stay the kernel's.
        let _ = self.forget_tables(vm, detached);
        mapped.map_err(about(1)).and_then(|mapped| mapped.map_err(|error| map_failure(2, error)))
    }

    /// Unmaps pages from a VM.
    pub(super) fn vm_unmap(&mut self) -> Answer {
        let (vm, gpa) = (self.id(1), self.user.argument(2));
        let size = self.range(2, gpa, 3)?;
        if vm.raw() == ROOT_VM {
            return Err(Failure::argument(1, Error::Denied));
        }
        self.unmap_pages(vm, gpa, size)?;
        DONE
    }

    /// Unmaps a range, all or nothing, and releases each frame once no PP can reach it. A frame that a lost
    /// PP may still reach stays counted as mapped, and so is never reused.
    ///
    /// Steps that can run out of frames come first: in each of the VM's tables the kernel splits the leaves
    /// that cross the ends of the range. Then it unmaps the two ends, so that no other call merges such a
    /// leaf again; the rest takes no frame.
    fn unmap_pages(&mut self, vm: Id, gpa: u64, size: u64) -> Result<(), Failure> {
        let end = gpa.saturating_add(size);
        let (mut start, mut last) = (gpa, end);
        self.take_out(vm, |pp, vm, tables| {
            pp.prepare_unmap(vm, tables, gpa, size)?;
            let first = pp.unmap_piece(vm, tables, gpa, end)?;
            start = gpa.saturating_add(first.size);
            let page = end.saturating_sub(PAGE_SIZE);
            let piece = largest_leaf(vm, tables, page);
            last = page & !piece.wrapping_sub(1);
            let other = if last >= start { Some(pp.unmap_piece(vm, tables, last, end)?) } else { None };
            Ok([Some(first), other])
        })?;
        while start < last {
            self.take_out(vm, |pp, vm, tables| {
                let piece = pp.unmap_piece(vm, tables, start, last)?;
                start = start.saturating_add(piece.size);
                Ok([Some(piece), None])
            })?;
        }
        Ok(())
    }

    /// Runs `work`, which unmaps part of a VM; then shoots down the TLBs of all PPs and releases the frames.
    fn take_out(
        &self,
        vm: Id,
        work: impl FnOnce(&Self, &mut Vm<A>, &mut Tables<'_, '_, '_, A>) -> Result<[Option<Gone>; 2], MapError>,
    ) -> Result<(), Failure> {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let mut detached = DeferredFree::new(&mut frames);
        let gone =
            self.kernel.vms.with(vm, |vm| work(self, vm, &mut PoolTables { memory, frames: &mut detached }));
        let forgotten = self.flush_everywhere(vm)?;
        self.release_tables(detached, &forgotten)?;
        let gone = gone.map_err(about(1))?.map_err(|error| map_failure(2, error))?;
        let mut pool = self.kernel.frames.lock()?;
        for Gone { frame, size } in gone.into_iter().flatten() {
            pool.uncount_mappings(frame, (size / PAGE_SIZE) as usize);
        }
        Ok(())
    }

    /// Splits the leaves that cross the ends of a range in each of the VM's tables: in all or in none.
    fn prepare_unmap(
        &self,
        vm: &mut Vm<A>,
        tables: &mut Tables<'_, '_, '_, A>,
        gpa: u64,
        size: u64,
    ) -> Result<(), MapError> {
        let tlb = &mut Broadcast(&self.cpu);
        let at = Input::<A>::from_raw(gpa);
        let prepared = vm.each_table(|table| table.prepare_unmap(tables, tlb, at, size));
        if prepared.is_err() {
            for edge in [gpa, gpa.saturating_add(size).saturating_sub(PAGE_SIZE)] {
                let edge = Input::<A>::from_raw(edge);
                let _ = vm.each_table(|table| table.merge_along(tables, tlb, edge, PAGE_SIZE));
            }
        }
        prepared
    }

    /// Unmaps the largest leaf at `gpa` in any of the VM's tables; no leaf reaches beyond `end`.
    fn unmap_piece(
        &self,
        vm: &mut Vm<A>,
        tables: &mut Tables<'_, '_, '_, A>,
        gpa: u64,
        end: u64,
    ) -> Result<Gone, MapError> {
        let at = Input::<A>::from_raw(gpa);
        let frame = vm.nested.query(tables, at).ok_or(MapError::NotMapped(gpa))?.spa;
        let leaf = largest_leaf(vm, tables, gpa);
        let fits = gpa.is_multiple_of(leaf) && leaf <= end.saturating_sub(gpa);
        let size = if fits { leaf } else { PAGE_SIZE };
        self.prepare_unmap(vm, tables, gpa, size)?;
        vm.each_table(|table| table.unmap(tables, &mut Broadcast(&self.cpu), at, size))?;
        vm.mapped_pages = vm.mapped_pages.saturating_sub((size / PAGE_SIZE) as usize);
        Ok(Gone { frame, size })
    }

    /// Frees unlinked tables of a VM after a TLB shootdown.
    ///
    /// # Errors
    /// A lost PP may still use the tables, or the pool is out of reach. They stay the kernel's for good.
    pub(crate) fn forget_tables(
        &self,
        vm: Id,
        detached: DeferredFree<'_, '_, A::Memory>,
    ) -> Result<(), Failure> {
        if !detached.is_empty() {
            let forgotten = self.flush_everywhere(vm)?;
            self.release_tables(detached, &forgotten)?;
        }
        Ok(())
    }

    pub(super) fn release_tables(
        &self,
        detached: DeferredFree<'_, '_, A::Memory>,
        _: &Forgotten,
    ) -> Result<(), Failure> {
        let mut pool = self.kernel.frames.lock()?;
        detached.take().for_each(|table| pool.release(table, 1));
        Ok(())
    }

    /// The permissions at a guest-physical address in the VM's own tables.
    pub(super) fn vm_query(&mut self) -> Answer {
        self.query(None, 2)
    }

    /// The permissions at a guest-physical address in a view.
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

    /// The size in REG`register`, if it forms a valid range with `start` in REG`start_register`.
    pub(super) fn range(&self, start_register: u8, start: u64, register: u8) -> Result<u64, Failure> {
        let size = self.user.argument(usize::from(register));
        if !start.is_multiple_of(PAGE_SIZE) || start.checked_add(size).is_none() {
            return Err(bad(start_register));
        }
        if size == 0 || size > MAX_RANGE || !size.is_multiple_of(PAGE_SIZE) {
            return Err(bad(register));
        }
        Ok(size)
    }

    /// Invalidates the nested translations of a VM on every PP. The calling PP does so before its next entry.
    ///
    /// The VM must not be locked: another PP may need that lock to decode an instruction before it leaves its
    /// guest.
    ///
    /// # Errors
    /// [`Unheard`]: a lost PP may still use old translations.
    pub(crate) fn flush_everywhere(&self, vm: Id) -> Result<Forgotten, Unheard> {
        self.mailbox.post(FLUSH);
        self.kernel.shoot_down(vm, self.index, &self.cpu)
    }
}

pub(super) fn bad(register: u8) -> Failure {
    Failure::argument(register, Error::InvalidArgument)
}

/// Decodes permissions and memory type.
fn attributes(raw: u64) -> Option<Attributes> {
    Some(Attributes::new(permissions(raw & !MEMORY_TYPES)?, MemoryType::of_flags(raw)?))
}

pub(super) fn permissions(raw: u64) -> Option<Permissions> {
    let wanted = AbiPermissions::from_bits(raw)?;
    let mut permissions = Permissions::empty();
    permissions.set(Permissions::READ, wanted.contains(AbiPermissions::READ));
    permissions.set(Permissions::WRITE, wanted.contains(AbiPermissions::WRITE));
    permissions.set(Permissions::EXECUTE, wanted.contains(AbiPermissions::EXECUTE));
    Some(permissions)
}

/// The size of the largest leaf around `gpa` in the tables of a VM.
fn largest_leaf<A: Arch>(vm: &mut Vm<A>, tables: &Tables<'_, '_, '_, A>, gpa: u64) -> u64 {
    let mut largest = PAGE_SIZE;
    let _ = vm.each_table(|table| {
        let leaf = table.query(tables, Input::<A>::from_raw(gpa));
        largest = leaf.map_or(largest, |leaf| largest.max(leaf.size));
        Ok::<(), MapError>(())
    });
    largest
}

/// Converts an error of the page-table engine for a call whose guest-physical address is REG`register`.
pub(super) fn map_failure(register: u8, error: MapError) -> Failure {
    match error {
        MapError::AlreadyMapped(_) => Failure::argument(register, Error::AlreadyMapped),
        MapError::NotMapped(_) => Failure::argument(register, Error::NotMapped),
        MapError::Misaligned | MapError::OutOfRange => Failure::argument(register, Error::InvalidArgument),
        MapError::Unsupported(_) => Error::Unsupported.into(),
        MapError::OutOfFrames => Error::OutOfMemory.into(),
    }
}
