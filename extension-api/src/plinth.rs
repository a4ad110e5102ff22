//! The kernel's services, one method for each call.

use crate::abi::ExitClass;
use crate::abi::{
    Call, Failure, INTERCEPT_READS, INTERCEPT_WRITES, IdAnswer, MemoryAccess, MemoryType, Permissions,
    RegisterAccess, TIMER_OFF, VERSION,
};
use crate::event::Event;
use crate::id::{ViewId, VmId, VpId, VsId};
use crate::syscall::{self, with_handle, without_handle};

/// The kernel. Its methods are its calls; each fails with the kernel's [`Failure`], which says what is
/// wrong with which argument (REG0 is the handle, REG1 the first argument of the method).
#[derive(Clone, Copy, Debug)]
pub struct Plinth(());

/// What a VM may do with some of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// What it may do.
    pub permissions: Permissions,
    /// How it is cached.
    pub memory_type: MemoryType,
    /// Bytes that one entry of the nested tables maps there.
    pub leaf_size: u64,
}

impl Mapping {
    /// What a query answers.
    fn new(attributes: u64, leaf_size: u64) -> Self {
        let permissions = Permissions::from_bits_truncate(attributes);
        Self { permissions, memory_type: MemoryType::of_flags(attributes).unwrap_or_default(), leaf_size }
    }
}

/// Makes a call whose first argument is the handle and which neither frees memory nor resumes anything.
macro_rules! call {
    ($call:ident $(, $argument:expr)*) => {{
        let mut arguments = [0; 5];
        let given: &[u64] = &[$($argument),*];
        arguments[..given.len()].copy_from_slice(given);
        // SAFETY: The call takes no memory away that Rust knows of, and it comes back.
        unsafe { with_handle(Call::$call, arguments) }
    }};
}

#[allow(clippy::missing_errors_doc, reason = "the type says it for all of them")]
impl Plinth {
    /// The kernel, for code that runs where it was opened already: in a callback.
    pub(crate) const fn opened() -> Self {
        Self(())
    }

    /// Opens the ABI in the version that this crate was built for.
    pub fn open() -> Result<Self, Failure> {
        // SAFETY: The call touches no memory.
        let [handle, _] = unsafe { without_handle(Call::HandleOpen, [VERSION, 0, 0]) }?;
        syscall::set_handle(handle);
        Ok(Self(()))
    }

    /// Writes two values to the log.
    pub fn debug_out(self, first: u64, second: u64) -> Result<(), Failure> {
        // SAFETY: The call touches no memory.
        unsafe { without_handle(Call::DebugOut, [first, second, 0]) }.map(drop)
    }

    /// Writes the registers of a VS to the log.
    pub fn debug_dump_vs(self, vs: VsId) -> Result<(), Failure> {
        // SAFETY: The call touches no memory.
        unsafe { without_handle(Call::DebugDumpVs, [vs.raw(), 0, 0]) }.map(drop)
    }

    /// How many exits of `class` there were on `pp`.
    pub fn debug_exit_count(self, pp: u64, class: ExitClass) -> Result<u64, Failure> {
        // SAFETY: The call touches no memory.
        unsafe { without_handle(Call::DebugExitCount, [pp, class as u64, 0]) }.map(|[count, _]| count)
    }

    /// Makes a VM without memory.
    pub fn vm_create(self) -> Result<VmId, Failure> {
        call!(VmCreate).map(|[id, _]| VmId::from_raw(id))
    }

    /// Removes a VM that has neither VPs nor memory.
    pub fn vm_destroy(self, vm: VmId) -> Result<(), Failure> {
        call!(VmDestroy, vm.raw()).map(drop)
    }

    /// Maps pages from [`Plinth::allocate_page`] into a VM: `size` bytes from the extension's address `from` on, at
    /// guest-physical address `gpa`. Everything in multiples of 4096.
    pub fn vm_map(
        self,
        vm: VmId,
        gpa: u64,
        from: u64,
        size: u64,
        permissions: Permissions,
    ) -> Result<(), Failure> {
        self.vm_map_as(vm, gpa, from, size, permissions, MemoryType::WriteBack)
    }

    /// [`Plinth::vm_map`] with a memory type: what the extension itself accesses there stays write-back, so that what it
    /// writes later may reach the guest late.
    pub fn vm_map_as(
        self,
        vm: VmId,
        gpa: u64,
        from: u64,
        size: u64,
        permissions: Permissions,
        memory_type: MemoryType,
    ) -> Result<(), Failure> {
        call!(VmMap, vm.raw(), gpa, from, size, permissions.bits() | memory_type as u64).map(drop)
    }

    /// Takes `size` bytes of such pages out of a VM again.
    pub fn vm_unmap(self, vm: VmId, gpa: u64, size: u64) -> Result<(), Failure> {
        call!(VmUnmap, vm.raw(), gpa, size).map(drop)
    }

    /// Changes what a VM may do with `size` bytes of its memory.
    pub fn vm_protect(self, vm: VmId, gpa: u64, size: u64, permissions: Permissions) -> Result<(), Failure> {
        call!(VmProtect, vm.raw(), gpa, size, permissions.bits()).map(drop)
    }

    /// What a VM may do at a guest-physical address.
    pub fn vm_query(self, vm: VmId, gpa: u64) -> Result<Mapping, Failure> {
        call!(VmQuery, vm.raw(), gpa).map(|[attributes, leaf_size]| Mapping::new(attributes, leaf_size))
    }

    /// Makes a view of a VM: a further set of permissions for its memory, a copy of its own at first.
    pub fn vm_view_create(self, vm: VmId) -> Result<ViewId, Failure> {
        call!(VmViewCreate, vm.raw()).map(|[id, _]| ViewId::from_raw(id))
    }

    /// Removes a view that no VS uses.
    pub fn vm_view_destroy(self, vm: VmId, view: ViewId) -> Result<(), Failure> {
        call!(VmViewDestroy, vm.raw(), view.raw()).map(drop)
    }

    /// Changes what VSs that use a view may do with `size` bytes of their VM's memory.
    pub fn vm_view_protect(
        self,
        vm: VmId,
        view: ViewId,
        gpa: u64,
        size: u64,
        permissions: Permissions,
    ) -> Result<(), Failure> {
        call!(VmViewProtect, vm.raw(), view.raw(), gpa, size, permissions.bits()).map(drop)
    }

    /// What VSs that use a view may do at a guest-physical address.
    pub fn vm_view_query(self, vm: VmId, view: ViewId, gpa: u64) -> Result<Mapping, Failure> {
        call!(VmViewQuery, vm.raw(), view.raw(), gpa)
            .map(|[attributes, leaf_size]| Mapping::new(attributes, leaf_size))
    }

    /// Makes a VS see its VM's memory by a view; [`ViewId::OWN`] for the VM's own tables.
    pub fn vs_set_view(self, vs: VsId, view: ViewId) -> Result<(), Failure> {
        call!(VsSetView, vs.raw(), view.raw()).map(drop)
    }

    /// Makes a VS exit with [`ExitClass::Step`] after each instruction that it executes, or no longer.
    pub fn vs_step(self, vs: VsId, on: bool) -> Result<(), Failure> {
        call!(VsStep, vs.raw(), u64::from(on)).map(drop)
    }

    /// Copies from a VM's memory; at most 4096 bytes. After an error part of `buffer` may be filled.
    pub fn vm_read_memory(self, vm: VmId, gpa: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        let (at, bytes) = (buffer.as_mut_ptr() as u64, buffer.len() as u64);
        call!(VmReadMemory, vm.raw(), gpa, at, bytes).map(drop)
    }

    /// Copies to a VM's memory; at most 4096 bytes. After an error part may have been written.
    pub fn vm_write_memory(self, vm: VmId, gpa: u64, bytes: &[u8]) -> Result<(), Failure> {
        call!(VmWriteMemory, vm.raw(), gpa, bytes.as_ptr() as u64, bytes.len() as u64).map(drop)
    }

    /// Where a guest-virtual address leads for the guest's kernel, by its own page tables.
    pub fn vs_translate(self, vs: VsId, gva: u64, access: MemoryAccess) -> Result<u64, Failure> {
        call!(VsTranslate, vs.raw(), gva, access.bits()).map(|[gpa, _]| gpa)
    }

    /// Reads many registers of a VS: each entry's `value` gets the bits in its `mask`.
    pub fn vs_read_many(self, vs: VsId, list: &mut [RegisterAccess]) -> Result<(), Failure> {
        call!(VsReadMany, vs.raw(), list.as_mut_ptr() as u64, list.len() as u64).map(drop)
    }

    /// Writes many registers of a VS, of each the bits in its `mask`.
    pub fn vs_write_many(self, vs: VsId, list: &[RegisterAccess]) -> Result<(), Failure> {
        call!(VsWriteMany, vs.raw(), list.as_ptr() as u64, list.len() as u64).map(drop)
    }

    /// Moves a VS that is not active to another PP.
    pub fn vs_migrate(self, vs: VsId, pp: u64) -> Result<(), Failure> {
        call!(VsMigrate, vs.raw(), pp).map(drop)
    }

    /// Makes a VS exit with [`ExitClass::Attention`] on `pp`: the one that is active there.
    pub fn pp_kick(self, pp: u64) -> Result<(), Failure> {
        call!(PpKick, pp).map(drop)
    }

    /// The machine's monotonic counter, and its ticks per second where the machine says so.
    pub fn time(self) -> Result<(u64, Option<u64>), Failure> {
        call!(TimeRead).map(|[ticks, frequency]| (ticks, (frequency != 0).then_some(frequency)))
    }

    /// Makes the active VS of this PP exit with [`ExitClass::Timer`] when the machine's counter has come to `deadline`, or
    /// not at all. How exactly differs by machine.
    pub fn timer_set(self, deadline: Option<u64>) -> Result<(), Failure> {
        call!(TimerSet, deadline.unwrap_or(TIMER_OFF)).map(drop)
    }

    /// `bytes` of zeroed memory that lies side by side, a multiple of 4096; the result is its address.
    pub fn allocate_huge(self, bytes: u64) -> Result<u64, Failure> {
        call!(MemAllocateHuge, bytes).map(|[address, _]| address)
    }

    /// Gives such memory back.
    ///
    /// # Safety
    /// Nothing may use it any more.
    pub unsafe fn free_huge(self, address: u64, bytes: u64) -> Result<(), Failure> {
        // SAFETY: The kernel takes only pages that it has given, and the caller is done with them.
        unsafe { with_handle(Call::MemFreeHuge, [address, bytes, 0, 0, 0]) }.map(drop)
    }

    /// Declares answers to ID reads, which the kernel gives from now on without entering the extension.
    pub fn vm_declare_ids(self, vm: VmId, answers: &[IdAnswer]) -> Result<(), Failure> {
        call!(VmDeclareIds, vm.raw(), answers.as_ptr() as u64, answers.len() as u64).map(drop)
    }

    /// Has every ID read of a VM exit. CPUID does anyway; Arm's ID registers (the groups that HCR_EL2.TID3 traps) do
    /// only if asked.
    pub fn vm_intercept_ids(self, vm: VmId) -> Result<(), Failure> {
        match crate::arch::ID_REGISTERS {
            Some((first, count)) => self.vm_intercept_registers(vm, first, count, true, false),
            None => Ok(()),
        }
    }

    /// Sets which accesses to `count` MSRs or system registers from `first` on exit.
    pub fn vm_intercept_registers(
        self,
        vm: VmId,
        first: u64,
        count: u64,
        reads: bool,
        writes: bool,
    ) -> Result<(), Failure> {
        let flags = if reads { INTERCEPT_READS } else { 0 } | if writes { INTERCEPT_WRITES } else { 0 };
        call!(VmInterceptRegisters, vm.raw(), first, count, flags).map(drop)
    }

    /// Sets whether accesses to `count` ports from `first` on exit.
    pub fn vm_intercept_ports(self, vm: VmId, first: u16, count: u32, exit: bool) -> Result<(), Failure> {
        call!(VmInterceptPorts, vm.raw(), u64::from(first), u64::from(count), u64::from(exit)).map(drop)
    }

    /// Makes a VP of a VM.
    pub fn vp_create(self, vm: VmId) -> Result<VpId, Failure> {
        call!(VpCreate, vm.raw()).map(|[id, _]| VpId::from_raw(id))
    }

    /// Removes a VP that has no VS.
    pub fn vp_destroy(self, vp: VpId) -> Result<(), Failure> {
        call!(VpDestroy, vp.raw()).map(drop)
    }

    /// Makes a VS of a VP, to run on `pp`.
    pub fn vs_create(self, vp: VpId, pp: u64) -> Result<VsId, Failure> {
        call!(VsCreate, vp.raw(), pp).map(|[id, _]| VsId::from_raw(id))
    }

    /// Removes a VS that is not active.
    pub fn vs_destroy(self, vs: VsId) -> Result<(), Failure> {
        call!(VsDestroy, vs.raw()).map(drop)
    }

    /// Gives a VS of the root VM the state of the OS that was running on this PP.
    pub fn vs_init_as_root(self, vs: VsId) -> Result<(), Failure> {
        call!(VsInitAsRoot, vs.raw()).map(drop)
    }

    /// Reads a register of a VS, by its number in [`crate::abi::register`].
    pub fn vs_read(self, vs: VsId, register: u64) -> Result<u64, Failure> {
        call!(VsRead, vs.raw(), register).map(|[value, _]| value)
    }

    /// Writes a register of a VS. Bits that keep the kernel safe stay as they are.
    pub fn vs_write(self, vs: VsId, register: u64, value: u64) -> Result<(), Failure> {
        call!(VsWrite, vs.raw(), register, value).map(drop)
    }

    /// Delivers an event to a VS when it runs next.
    pub fn vs_inject(self, vs: VsId, event: Event) -> Result<(), Failure> {
        call!(VsInject, vs.raw(), event.raw()).map(drop)
    }

    /// Reads an MSR or system register of the machine, if the kernel's list allows it.
    pub fn intrinsic_read(self, register: u64) -> Result<u64, Failure> {
        call!(IntrinsicRead, register).map(|[value, _]| value)
    }

    /// Writes an MSR or system register of the machine, if the kernel's list allows it.
    pub fn intrinsic_write(self, register: u64, value: u64) -> Result<(), Failure> {
        call!(IntrinsicWrite, register, value).map(drop)
    }

    /// Restarts the machine. Comes back only if it cannot.
    pub fn intrinsic_reset(self) -> Failure {
        match call!(IntrinsicReset) {
            Err(failure) => failure,
            Ok(_) => crate::abi::Error::Unsupported.into(),
        }
    }

    /// A zeroed page of 4096 bytes for the extension, to use or to map into VMs; the result is its address.
    pub fn allocate_page(self) -> Result<u64, Failure> {
        call!(MemAllocatePage).map(|[address, _]| address)
    }

    /// Gives such a page back.
    ///
    /// # Safety
    /// Nothing may use the page any more.
    pub unsafe fn free_page(self, address: u64) -> Result<(), Failure> {
        // SAFETY: The kernel takes only pages that `allocate_page` gave, and the caller is done with it.
        unsafe { with_handle(Call::MemFreePage, [address, 0, 0, 0, 0]) }.map(drop)
    }
}
