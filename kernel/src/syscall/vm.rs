//! VM calls: life, declared policy, intercepts.

use core::mem::size_of;

use plinth_extension_api::abi::{
    Error, Failure, INTERCEPT_READS, INTERCEPT_WRITES, IdAnswer, MAX_ID_ANSWERS, MAX_INTERCEPTS, ROOT_VM,
};
use plinth_hal::page_table::{PageTable, PoolTables};
use plinth_hal::{Arch, InterceptError, Intercepts, UserContext, VmHw};

use super::{Answer, DONE, about};
use crate::ipi::mailbox::POLICY;
use crate::ipi::shootdown::Forgotten;
use crate::object::objects::Vm;
use crate::object::table::Id;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Makes a VM without memory.
    pub(super) fn vm_create(&mut self) -> Answer {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let format = self
            .kernel
            .vms
            .with(Id::from_raw(ROOT_VM), |vm| A::guest_vm_format(vm.nested.format()))
            .map_err(|_| Error::WrongState)?;
        let tables = &mut PoolTables { memory, frames: &mut frames };
        let nested = PageTable::new(tables, format).map_err(|_| Error::OutOfMemory)?;
        let Some(tag) = self.kernel.take_tag() else {
            nested.destroy(&mut PoolTables { memory, frames: &mut frames });
            return Err(Error::OutOfObjects.into());
        };
        let Ok(hw) = A::Vm::create(memory, &mut frames, nested.root(), tag) else {
            nested.destroy(&mut PoolTables { memory, frames: &mut frames });
            self.kernel.release_tag(tag);
            return Err(Error::OutOfMemory.into());
        };
        let vm = Vm::new(nested, hw, tag);
        match self.kernel.vms.insert(vm) {
            Ok(id) => Ok([id.raw(), 0]),
            Err(vm) => {
                self.dismantle(vm, &Forgotten::NEVER_RUN);
                Err(Error::OutOfObjects.into())
            }
        }
    }

    /// Gives back all that a VM has on hardware.
    fn dismantle(&self, vm: Vm<A>, _: &Forgotten) {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        while let Some(view) = vm.views.remove_where(|_| true) {
            view.nested.destroy(&mut PoolTables { memory, frames: &mut frames });
        }
        vm.nested.destroy(&mut PoolTables { memory, frames: &mut frames });
        vm.hw.destroy(&mut frames);
        self.kernel.release_tag(vm.tag);
    }

    /// Removes a VM that has neither VPs nor memory.
    pub(super) fn vm_destroy(&mut self) -> Answer {
        let id = self.id(1);
        if id.raw() == ROOT_VM {
            return Err(Failure::argument(1, Error::Denied));
        }
        let unused = |vm: &Vm<A>| if vm.vps == 0 && vm.mapped_pages == 0 { Ok(()) } else { Err(Error::Busy) };
        let vm = self.kernel.vms.remove(id, unused).map_err(about(1))?;
        let forgotten = self.kernel.shoot_down(id, self.index, &self.cpu)?;
        self.dismantle(vm, &forgotten);
        DONE
    }

    /// Makes every PP forget what it has cached of a VM's memory.
    pub(super) fn vm_flush(&mut self) -> Answer {
        let vm = self.id(1);
        self.kernel.vms.with(vm, |_| ()).map_err(about(1))?;
        let _: Forgotten = self.flush_everywhere(vm)?;
        DONE
    }

    /// Declares answers to ID reads.
    pub(super) fn vm_declare_ids(&mut self) -> Answer {
        let (vm, address, count) = (self.id(1), self.user.argument(2), self.user.argument(3));
        if count > MAX_ID_ANSWERS {
            return Err(Failure::argument(3, Error::InvalidArgument));
        }
        let declared = self.kernel.vms.with(vm, |vm| {
            let mut policy = vm.policy.clone();
            for index in 0..count {
                let answer = self.declared_answer(address, index).map_err(about(2))?;
                policy.declare(answer).map_err(|_| Failure::argument(3, Error::OutOfObjects))?;
            }
            vm.policy = policy;
            Ok::<(), Failure>(())
        });
        declared.map_err(about(1))??;
        self.kernel.bump_policy();
        let told = self.kernel.tell_others(POLICY, vm, self.index, &self.cpu);
        self.refresh_policy();
        told?;
        DONE
    }

    /// The `index`th of the answers in the extension's memory at `address`.
    fn declared_answer(&self, address: u64, index: u64) -> Result<IdAnswer, Error> {
        let mut bytes = [0; size_of::<IdAnswer>()];
        let at = index.checked_mul(bytes.len() as u64).and_then(|offset| address.checked_add(offset));
        let at = at.ok_or(Error::InvalidArgument)?;
        self.copy_from_user(at, &mut bytes)?;
        Ok(IdAnswer::from_bytes(&bytes))
    }

    /// Sets which accesses to registers exit.
    pub(super) fn vm_intercept_registers(&mut self) -> Answer {
        let (first, count, flags) = (self.user.argument(2), self.user.argument(3), self.user.argument(4));
        if flags & !(INTERCEPT_READS | INTERCEPT_WRITES) != 0 {
            return Err(Failure::argument(4, Error::InvalidArgument));
        }
        let intercepts =
            Intercepts { reads: flags & INTERCEPT_READS != 0, writes: flags & INTERCEPT_WRITES != 0 };
        let authority = self.extension.authority();
        self.for_range(first, count, |vm, register| vm.hw.intercept_register(register, intercepts, authority))
    }

    /// Sets which accesses to ports exit.
    pub(super) fn vm_intercept_ports(&mut self) -> Answer {
        let (first, count, flag) = (self.user.argument(2), self.user.argument(3), self.user.argument(4));
        if flag > 1 {
            return Err(Failure::argument(4, Error::InvalidArgument));
        }
        let authority = self.extension.authority();
        self.for_range(first, count, |vm, port| {
            let port = u16::try_from(port).map_err(|_| InterceptError::Unknown)?;
            vm.hw.intercept_port(port, flag == 1, authority)
        })
    }

    fn for_range(
        &mut self,
        first: u64,
        count: u64,
        each: impl Fn(&mut Vm<A>, u64) -> Result<(), InterceptError>,
    ) -> Answer {
        let end = first.checked_add(count).filter(|_| count <= MAX_INTERCEPTS);
        let end = end.ok_or(Failure::argument(3, Error::InvalidArgument))?;
        let done = self.kernel.vms.with(self.id(1), |vm| (first..end).try_for_each(|at| each(vm, at)));
        match done.map_err(about(1))? {
            Ok(()) => DONE,
            Err(InterceptError::Unknown) => Err(Failure::argument(2, Error::InvalidArgument)),
            Err(InterceptError::Denied) => Err(Failure::argument(2, Error::Denied)),
        }
    }
}
