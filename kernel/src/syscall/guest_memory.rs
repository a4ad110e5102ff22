//! A guest's memory, read and written for the extension, and its own page tables.

use plinth_extension_api::abi::{Error, Failure, MAX_COPY, MemoryAccess};
use plinth_hal::{Arch, Gpa, GuestAccess, Gva, PAGE_SIZE, UserContext, VsHw};

use super::{Answer, DONE, about};
use crate::object::table::Id;
use crate::pp::{Pp, guest_view};

/// How much is copied at a time: on the kernel's stack.
const CHUNK: u64 = 256;

impl<A: Arch> Pp<'_, A> {
    /// Copies from a VM's memory to the extension's.
    pub(super) fn vm_read_memory(&mut self) -> Answer {
        self.copy(|pp, vm, gpa, at, buffer| {
            guest_view(pp.kernel, pp.machine, vm).copy_from(gpa, buffer).map_err(about_copy)?;
            pp.copy_to_user(at, buffer).map_err(about(3))
        })
    }

    /// Copies from the extension's memory to a VM's.
    pub(super) fn vm_write_memory(&mut self) -> Answer {
        self.copy(|pp, vm, gpa, at, buffer| {
            pp.copy_from_user(at, buffer).map_err(about(3))?;
            guest_view(pp.kernel, pp.machine, vm).copy_to(gpa, buffer).map_err(about_copy)
        })
    }

    /// Translates an address of a guest by the guest's own tables.
    pub(super) fn vs_translate(&mut self) -> Answer {
        let (gva, access) = (Gva::new(self.user.argument(2)), self.access(3)?);
        let id = self.id(1);
        let (kernel, machine) = (self.kernel, self.machine);
        let found = match &self.active {
            Some(active) if active.id == id => {
                active.vs.hw.translate(gva, access, &guest_view(kernel, machine, active.vs.vm))
            }
            _ => {
                let look = |hw: &A::Vs, vm| hw.translate(gva, access, &guest_view(kernel, machine, vm));
                kernel.vss.with(id, |vs| look(&vs.hw, vs.vm)).map_err(about(1))?
            }
        };
        let gpa = found.map_err(|_| Error::Unsupported)?.ok_or(Failure::argument(2, Error::NotMapped))?;
        Ok([gpa.raw(), 0])
    }

    fn access(&self, register: u8) -> Result<GuestAccess, Failure> {
        let bits = MemoryAccess::from_bits(self.user.argument(usize::from(register)));
        match bits {
            Some(bits) if bits.is_empty() => Ok(GuestAccess::Read),
            Some(MemoryAccess::WRITE) => Ok(GuestAccess::Write),
            Some(MemoryAccess::EXECUTE) => Ok(GuestAccess::Execute),
            _ => Err(Failure::argument(register, Error::InvalidArgument)),
        }
    }

    /// Calls `each` for pieces that lie within one page of the VM.
    fn copy(&mut self, each: impl Fn(&mut Self, Id, Gpa, u64, &mut [u8]) -> Result<(), Failure>) -> Answer {
        let (vm, gpa) = (self.id(1), self.user.argument(2));
        let (at, bytes) = (self.user.argument(3), self.user.argument(4));
        if bytes > MAX_COPY {
            return Err(Failure::argument(4, Error::InvalidArgument));
        }
        gpa.checked_add(bytes).ok_or(Failure::argument(2, Error::InvalidArgument))?;
        at.checked_add(bytes).ok_or(Failure::argument(3, Error::InvalidArgument))?;
        self.kernel.vms.with(vm, |_| ()).map_err(about(1))?;
        let mut done = 0;
        while done < bytes {
            // Neither sum wraps: both ranges end within the address space, as checked above.
            let (from, to) = (gpa.wrapping_add(done), at.wrapping_add(done));
            let room = PAGE_SIZE - from % PAGE_SIZE;
            let length = room.min(bytes - done).min(CHUNK);
            let mut buffer = [0; CHUNK as usize];
            each(self, vm, Gpa::new(from), to, &mut buffer[..length as usize])?;
            done += length;
        }
        DONE
    }
}

/// What is wrong with a copy: the VM, or its memory.
fn about_copy(error: Error) -> Failure {
    match error {
        Error::NotMapped | Error::Denied => Failure::argument(2, error),
        _ => Failure::argument(1, error),
    }
}
