//! A VM's memory, as the kernel accesses it: to fetch instruction bytes, to walk the guest's own page tables,
//! and to copy for the extension.
//!
//! A frame that a guest VM maps belongs to the extension, which may unmap and free it at any time on any PP.
//! [`GuestPage`] is the only access to such a frame. It looks the frame up in the VM's nested tables and
//! borrows the VM, so no PP can unmap the frame while the [`GuestPage`] exists, and a mapped frame is never
//! freed.
//!
//! The memory of the root VM is the machine's, mapped one to one, and never lies in the pool. So the kernel
//! need not walk the nested tables; it only checks that the address is outside the hypervisor's own memory.
//! It holds no lock during such an access.

use core::marker::PhantomData;

use plinth_extension_api::abi::Error;
use plinth_hal::page_table::{InputAddress, Permissions, PoolTables, PtFormat};
use plinth_hal::{Arch, Gpa, GuestMemory, PhysicalMemory, Spa};

use crate::kernel::{Kernel, Machine};
use crate::object::objects::Vm;
use crate::object::table::Id;

/// The memory of one VM.
pub(crate) enum GuestView<'a, A: Arch> {
    /// The root VM: guest-physical equals system-physical. The hypervisor's reservation reads as zeroes.
    Identity(&'a Machine<A>),
    /// A guest VM: translated by the VM's nested tables.
    Tables {
        /// Has the VM.
        kernel: &'a Kernel<A>,
        /// Has the memory.
        machine: &'a Machine<A>,
        /// The VM.
        vm: Id,
    },
}

impl<A: Arch> GuestView<'_, A> {
    /// Reads `buffer.len()` bytes from `at`, within one page, regardless of the VM's own permissions.
    ///
    /// # Errors
    /// [`Error::NotMapped`] if the VM has no memory there; [`Error::StaleId`] if the VM does not exist.
    pub(crate) fn copy_from(&self, at: Gpa, buffer: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::Identity(machine) => read_root(machine, at, buffer).then_some(()).ok_or(Error::NotMapped),
            Self::Tables { .. } => self.with_page(at, |page| page.read(buffer))?.ok_or(Error::NotMapped),
        }
    }

    /// Writes `bytes` to `at`, within one page, regardless of the VM's own permissions.
    ///
    /// # Errors
    /// As [`Self::copy_from`]; [`Error::Denied`] for the hypervisor's own memory, and for a device page that
    /// traps the root VM's writes.
    pub(crate) fn copy_to(&self, at: Gpa, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::Identity(machine) => write_root(machine, at, bytes),
            Self::Tables { .. } => self.with_page(at, |page| page.write(bytes))?.ok_or(Error::NotMapped),
        }
    }

    /// Calls `work` on the guest VM's page at `at`, if there is one.
    fn with_page<R>(
        &self,
        at: Gpa,
        work: impl FnOnce(&GuestPage<'_, A::Memory>) -> R,
    ) -> Result<Option<R>, Error> {
        let Self::Tables { kernel, machine, vm } = self else { return Ok(None) };
        kernel.vms.with(*vm, |vm| GuestPage::find(kernel, machine.memory, vm, at).map(|page| work(&page)))
    }

    #[cold]
    #[inline(never)]
    fn read_u64_by_tables(&self, at: Gpa) -> Option<u64> {
        self.with_readable_page(at, |page| page.read_u64())
    }

    /// As [`Self::with_page`], for a page that the guest may read.
    fn with_readable_page<R>(&self, at: Gpa, work: impl FnOnce(&GuestPage<'_, A::Memory>) -> R) -> Option<R> {
        let work = |page: &GuestPage<'_, _>| page.permissions.contains(Permissions::READ).then(|| work(page));
        self.with_page(at, work).ok()??
    }
}

/// A page of a guest VM, from some offset on. Its frame stays the extension's while the value exists.
struct GuestPage<'vm, M> {
    memory: M,
    at: Spa,
    permissions: Permissions,
    /// Borrows the VM, which an unmap needs exclusively.
    _mapped_in: PhantomData<&'vm ()>,
}

impl<'vm, M: PhysicalMemory> GuestPage<'vm, M> {
    fn find<A: Arch<Memory = M>>(kernel: &Kernel<A>, memory: M, vm: &'vm Vm<A>, at: Gpa) -> Option<Self> {
        let mut frames = kernel.kernel_frames(memory);
        let input = <A::NestedFormat as PtFormat>::Input::from_raw(at.raw());
        let mapping = vm.nested.query(&PoolTables { memory, frames: &mut frames }, input)?;
        let permissions = mapping.attributes.permissions;
        Some(Self { memory, at: mapping.spa, permissions, _mapped_in: PhantomData })
    }

    fn read_u64(&self) -> u64 {
        self.memory.read_u64(self.at)
    }

    fn read(&self, buffer: &mut [u8]) {
        self.memory.read_bytes(self.at, buffer);
    }

    /// Writes and cleans the cache: the guest may read uncached.
    fn write(&self, bytes: &[u8]) {
        self.memory.write_bytes(self.at, bytes);
        self.memory.write_back(self.at, bytes.len() as u64);
    }
}

fn read_root<A: Arch>(machine: &Machine<A>, at: Gpa, buffer: &mut [u8]) -> bool {
    let spa = Spa::new(at.raw());
    if machine.is_own(spa) {
        buffer.fill(0);
        return true;
    }
    spa.raw() < machine.memory_end && machine.memory.read_outside(spa, buffer)
}

fn write_root<A: Arch>(machine: &Machine<A>, at: Gpa, bytes: &[u8]) -> Result<(), Error> {
    let spa = Spa::new(at.raw());
    if machine.is_own(spa) || machine.trapped.contains(spa) {
        return Err(Error::Denied);
    }
    let written = spa.raw() < machine.memory_end && machine.memory.write_outside(spa, bytes);
    written.then_some(()).ok_or(Error::NotMapped)
}

impl<A: Arch> GuestMemory for GuestView<'_, A> {
    // Inlined into the walk of the guest's tables, which reads a word of the root VM five times at an exit whose instruction
    // has to be fetched.
    #[inline(always)]
    fn read_u64(&self, at: Gpa) -> Option<u64> {
        if let Self::Identity(machine) = self {
            let spa = Spa::new(at.raw());
            return if machine.is_own(spa) { Some(0) } else { machine.memory.read_outside_u64(spa) };
        }
        self.read_u64_by_tables(at)
    }

    #[inline]
    fn read_bytes(&self, at: Gpa, buffer: &mut [u8]) -> bool {
        match self {
            Self::Identity(machine) => read_root(machine, at, buffer),
            Self::Tables { .. } => self.with_readable_page(at, |page| page.read(buffer)).is_some(),
        }
    }
}
