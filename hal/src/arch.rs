//! The umbrella: what a backend is made of.

use crate::addr::Spa;
use crate::cpu::HostCpu;
use crate::exit_page::{ExitFrame, ExitPage, ExitPageWriter, ExitRegisters, PageWords};
use crate::memory::PhysicalMemory;
use crate::page_table::{MemoryType, PtFormat};
use crate::user::UserContext;
use crate::vs::{VmHw, VsHw};

/// A backend. A type without values; the kernel is generic over it and monomorphized for each.
pub trait Arch: Sized + 'static {
    /// What the log calls the backend.
    const NAME: &'static str;
    /// What the root VM's kernel is told of it: [`BACKEND_SVM`](plinth_extension_api::abi::BACKEND_SVM) and the like.
    const BACKEND: u64;
    /// The general registers that the arguments of a hypercall are in.
    const HYPERCALL_ARGUMENTS: [usize; 4];

    /// Host stage-1 tables: the kernel's own address space.
    type HostFormat: PtFormat + Clone + Send + Sync;
    /// Nested tables: guest-physical to system-physical.
    type NestedFormat: PtFormat + Clone + Send + Sync;
    /// Access to physical memory.
    type Memory: PhysicalMemory;
    /// The words of an exit page as the backend gets at them, looked up once for each processor.
    type Words: PageWords;
    /// The extension's registers.
    type User: UserContext;
    /// What belongs to all VSs of a VM: intercept maps and the like.
    type Vm: VmHw<Arch = Self> + Send;
    /// One virtual state on hardware.
    type Vs: VsHw<Arch = Self> + Send;
    /// A processor that the kernel runs on.
    type Cpu: HostCpu<Arch = Self>;
    /// What the OS was when the hypervisor launched, on one processor.
    type RootState;

    /// Looks an exit page up by its frame; `None` for what is no page of the pool.
    fn exit_page(memory: Self::Memory, frame: ExitFrame) -> Option<Page<Self>>;

    /// Whether the machine has an exception of this number that may be delivered to a VS: x86 vectors but the NMI's,
    /// Arm exception classes.
    fn is_exception(vector: u8) -> bool {
        const NMI: u8 = 2;
        vector < 32 && vector != NMI
    }

    /// Whether the machine has an interrupt of this number that may be delivered to a VS: x86 vectors that are not
    /// exceptions', Arm's two lines.
    fn is_interrupt(number: u8) -> bool {
        number >= 32
    }

    /// The format of the nested tables of guest VMs, where it is not that of the root VM's: hardware may ask for more care
    /// with a guest that wants to stop the machine, which the root VM can do anyway.
    fn guest_vm_format(root: &Self::NestedFormat) -> Self::NestedFormat {
        root.clone()
    }

    /// The memory type that the kernel's own map must have at an address, and where the range ends in which it is the same.
    /// Asked from the first processor's launch on.
    ///
    /// Write-back throughout, unless the processor may read ahead from devices that are mapped so (Arm: x86 has MTRRs).
    fn host_memory_type(at: Spa) -> (MemoryType, Spa) {
        let _ = at;
        (MemoryType::WriteBack, Spa::new(u64::MAX))
    }

    /// The memory type that the root VM's nested tables must have at an address, and where the range ends in which it
    /// is the same. Asked from the first processor's launch on; that it has changed says an exit of the class
    /// [`Cache`](crate::ExitClass::Cache) with the detail [`MEMORY_TYPES`](crate::MEMORY_TYPES).
    ///
    /// Write-back throughout, unless nested paging overrides what the firmware said elsewhere (Intel's MTRRs).
    fn memory_type(memory: Self::Memory, at: Spa) -> (MemoryType, Spa) {
        let _ = (memory, at);
        (MemoryType::WriteBack, Spa::new(u64::MAX))
    }

    /// Whether what the machine has at an address may be memory, and is no device's, as far as its memory types say.
    fn may_be_memory(memory: Self::Memory, at: Spa) -> bool {
        Self::memory_type(memory, at).0 == MemoryType::WriteBack
    }
}

/// An exit page of a backend.
pub type Page<A> = ExitPage<<A as Arch>::Words>;

/// The general registers in an exit page of a backend, to be read once.
pub type Registers<A> = ExitRegisters<<A as Arch>::Words>;

/// The way to write into an exit page of a backend.
pub type PageWriter<A> = ExitPageWriter<<A as Arch>::Words>;
