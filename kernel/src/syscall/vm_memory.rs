//! Nested paging: which memory a VM sees. The kernel owns the tables; the extension says what goes into them.

use plinth_extension_api::abi::{Error, Failure, MAX_RANGE, Permissions as AbiPermissions, ROOT_VM};
use plinth_hal::page_table::{
    Attributes, InputAddress, MapError, MemoryType, NotLoaded, Permissions, PoolTables, PtFormat,
};
use plinth_hal::{Arch, PAGE_SIZE, Spa, UserContext};

use super::{Answer, DONE, about};
use crate::detached::Detached;
use crate::frames::FrameOwner;
use crate::handle::Id;
use crate::mailbox::FLUSH;
use crate::objects::Vm;
use crate::pp::Pp;

type Input<A> = <<A as Arch>::NestedFormat as PtFormat>::Input;

impl<A: Arch> Pp<'_, A> {
    /// Maps pages that the extension allocated into a VM.
    pub(super) fn vm_map(&mut self) -> Answer {
        let (vm, gpa, from) = (self.id(1), self.user.argument(2), self.user.argument(3));
        let size = self.range(2, gpa, 4)?;
        let permissions = permissions(self.user.argument(5)).ok_or(bad(5))?;
        if vm.raw() == ROOT_VM {
            return Err(Failure::argument(1, Error::Denied));
        }
        for offset in (0..size).step_by(PAGE_SIZE as usize) {
            let at = from.checked_add(offset).filter(|at| at % PAGE_SIZE == 0).ok_or(bad(3))?;
            if let Err(failure) = self.map_page(vm, gpa + offset, at, permissions) {
                self.unmap_pages(vm, gpa, offset);
                return Err(failure);
            }
        }
        DONE
    }

    fn map_page(&mut self, vm: Id, gpa: u64, at: u64, permissions: Permissions) -> Result<(), Failure> {
        let (frame, _) = self.user_frame(at).ok_or(Failure::argument(3, Error::NotMapped))?;
        {
            let mut pool = self.kernel.frames.lock();
            if pool.owner(frame) != Some(FrameOwner::Extension) {
                return Err(Failure::argument(3, Error::Denied));
            }
            if !pool.count_mapping(frame) {
                return Err(Failure::argument(3, Error::Busy));
            }
        }
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let mut detached = Detached::new(&mut frames);
        let mapped = self.kernel.vms.with(vm, |vm| {
            let attributes = Attributes::new(permissions, MemoryType::WriteBack);
            let tables = &mut PoolTables { memory, frames: &mut detached };
            vm.nested.map(tables, &mut NotLoaded, Input::<A>::from_raw(gpa), frame, PAGE_SIZE, attributes)?;
            vm.mapped_pages += 1;
            Ok(())
        });
        let result = mapped.map_err(about(1)).and_then(|mapped| mapped.map_err(map_failure));
        self.forget_tables(detached);
        if result.is_err() {
            self.kernel.frames.lock().uncount_mapping(frame);
        }
        result
    }

    /// Takes mapped pages out of a VM again.
    pub(super) fn vm_unmap(&mut self) -> Answer {
        let (vm, gpa) = (self.id(1), self.user.argument(2));
        let size = self.range(2, gpa, 3)?;
        if vm.raw() == ROOT_VM {
            return Err(Failure::argument(1, Error::Denied));
        }
        self.check_mapped(vm, gpa, size)?;
        self.unmap_pages(vm, gpa, size);
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

    /// Unmaps page by page what is mapped, and lets each frame go once no PP can reach it any more.
    fn unmap_pages(&mut self, vm: Id, gpa: u64, size: u64) {
        let memory = self.machine.memory;
        for offset in (0..size).step_by(PAGE_SIZE as usize) {
            let mut frames = self.kernel.kernel_frames(memory);
            let mut detached = Detached::new(&mut frames);
            let frame = self.kernel.vms.with(vm, |vm| {
                let at = Input::<A>::from_raw(gpa + offset);
                let tables = &mut PoolTables { memory, frames: &mut detached };
                let frame = vm.nested.query(tables, at)?.spa;
                vm.nested.unmap(tables, &mut NotLoaded, at, PAGE_SIZE).ok()?;
                vm.mapped_pages -= 1;
                Some(frame)
            });
            if let Ok(Some(frame)) = frame {
                self.flush_everywhere();
                self.kernel.frames.lock().uncount_mapping(frame);
            }
            self.forget_tables(detached);
        }
    }

    /// Frees tables that are linked no more, once every PP has forgotten them.
    fn forget_tables(&self, detached: Detached<'_, '_, A::Memory>) {
        if !detached.is_empty() {
            self.flush_everywhere();
            let mut pool = self.kernel.frames.lock();
            detached.take().for_each(|table| pool.release(table, 1));
        }
    }

    /// Changes what a VM may do with memory that it has. The root VM's can only lose: its own map gives all.
    pub(super) fn vm_protect(&mut self) -> Answer {
        let (vm, gpa) = (self.id(1), self.user.argument(2));
        let size = self.range(2, gpa, 3)?;
        let permissions = permissions(self.user.argument(4)).ok_or(bad(4))?;
        if vm.raw() == ROOT_VM && !self.is_roots_own(gpa, size) {
            return Err(Failure::argument(2, Error::Denied));
        }
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let done = self.kernel.vms.with(vm, |vm: &mut Vm<A>| {
            let attributes = Attributes::new(permissions, MemoryType::WriteBack);
            let tables = &mut PoolTables { memory, frames: &mut frames };
            vm.nested.protect(tables, &mut NotLoaded, Input::<A>::from_raw(gpa), size, attributes)
        });
        done.map_err(about(1))?.map_err(map_failure)?;
        self.flush_everywhere();
        DONE
    }

    /// Whether a range of the root VM is the extension's to decide: not the hypervisor's, nor a page whose
    /// writes the kernel must see.
    fn is_roots_own(&self, gpa: u64, size: u64) -> bool {
        let overlaps = |start: u64, end: u64| gpa < end && start < gpa + size;
        let reservation = self.machine.reservation;
        let trapped = self.machine.trapped_page.map(Spa::raw);
        !overlaps(reservation.start.raw(), reservation.end().raw())
            && !trapped.is_some_and(|page| overlaps(page, page + PAGE_SIZE))
    }

    /// What a VM may do at a guest-physical address.
    pub(super) fn vm_query(&mut self) -> Answer {
        let (vm, gpa) = (self.id(1), self.user.argument(2));
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let found = self.kernel.vms.with(vm, |vm| {
            vm.nested.query(&PoolTables { memory, frames: &mut frames }, Input::<A>::from_raw(gpa))
        });
        let mapping = found.map_err(about(1))?.ok_or(Failure::argument(2, Error::NotMapped))?;
        Ok([u64::from(mapping.attributes.permissions.bits() & 7), mapping.size])
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

    /// Makes every PP forget what it holds of nested tables; this one before its next entry.
    ///
    /// Not while the VM is locked: a PP that is waited for may need that lock to decode an instruction before it
    /// leaves its guest.
    fn flush_everywhere(&self) {
        self.kernel.shoot_down(self.index, &self.cpu);
        self.mailbox.post(FLUSH);
    }
}

fn bad(register: u8) -> Failure {
    Failure::argument(register, Error::InvalidArgument)
}

fn permissions(raw: u64) -> Option<Permissions> {
    let wanted = AbiPermissions::from_bits(raw)?;
    let mut permissions = Permissions::empty();
    permissions.set(Permissions::READ, wanted.contains(AbiPermissions::READ));
    permissions.set(Permissions::WRITE, wanted.contains(AbiPermissions::WRITE));
    permissions.set(Permissions::EXECUTE, wanted.contains(AbiPermissions::EXECUTE));
    Some(permissions)
}

fn map_failure(error: MapError) -> Failure {
    match error {
        MapError::AlreadyMapped(_) => Failure::argument(2, Error::AlreadyMapped),
        MapError::NotMapped(_) => Failure::argument(2, Error::NotMapped),
        MapError::Misaligned | MapError::OutOfRange => Failure::argument(2, Error::InvalidArgument),
        MapError::Unsupported(_) => Error::Unsupported.into(),
        MapError::OutOfFrames => Error::OutOfMemory.into(),
    }
}
