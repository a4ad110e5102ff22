//! [`Arch`]: the types, constants and memory types of a backend, in one trait.

use crate::addr::Spa;
use crate::cpu::HostCpu;
use crate::exit_page::{ExitFrame, ExitPage, ExitPageWriter, ExitRegisters, PageWords};
use crate::memory::PhysicalMemory;
use crate::page_table::{MemoryType, PtFormat};
use crate::user::UserContext;
use crate::vs::{VmHw, VsHw};

/// A backend. The type has no values: the kernel takes it as a generic parameter and is compiled once for
/// each backend.
pub trait Arch: Sized + 'static {
    /// The name of the backend in the log.
    const NAME: &'static str;
    /// The backend's number in the status that the kernel of the root VM reads:
    /// [`BACKEND_SVM`](plinth_extension_api::abi::BACKEND_SVM) and its neighbours.
    const BACKEND: u64;
    /// The indices, in the exit page, of the general registers that hold a hypercall's arguments.
    const HYPERCALL_ARGUMENTS: [usize; 4];

    /// The format of the host page tables (stage 1), which map the address space of the kernel and of the
    /// extension.
    type HostFormat: PtFormat + Clone + Send + Sync;
    /// The format of the nested page tables (NPT, EPT, Arm stage 2), which translate guest-physical to
    /// system-physical addresses.
    type NestedFormat: PtFormat + Clone + Send + Sync;
    /// Access to physical memory.
    type Memory: PhysicalMemory;
    /// Access to the words of an exit page. The kernel looks the page up once for each processor.
    type Words: PageWords;
    /// The saved registers of the extension.
    type User: UserContext;
    /// The hardware state that all VSs of a VM share, such as intercept maps.
    type Vm: VmHw<Arch = Self> + Send;
    /// The hardware state of one VS (a VMCB, a VMCS, or the EL1 registers).
    type Vs: VsHw<Arch = Self> + Send;
    /// A physical processor under the hypervisor.
    type Cpu: HostCpu<Arch = Self>;
    /// The state of the OS on one processor at the moment of the launch.
    type RootState;

    /// Looks up the exit page in `frame`. Returns `None` for a frame outside the pool.
    fn exit_page(memory: Self::Memory, frame: ExitFrame) -> Option<Page<Self>>;

    /// Whether `vector` is an exception that the kernel may inject into a VS: on x86 a vector below 32 other
    /// than the NMI's, on Arm an exception class.
    fn is_exception(vector: u8) -> bool {
        const NMI: u8 = 2;
        vector < 32 && vector != NMI
    }

    /// Whether `number` is an interrupt that the kernel may inject into a VS: on x86 a vector from 32 on, on
    /// Arm one of the two lines (IRQ, FIQ).
    fn is_interrupt(number: u8) -> bool {
        number >= 32
    }

    /// The format of the nested tables of guest VMs, derived from the root VM's. A backend overrides the
    /// default where a hostile guest could use a hardware erratum to stop the machine. The root VM needs no
    /// such care, since it can stop the machine anyway.
    fn guest_vm_format(root: &Self::NestedFormat) -> Self::NestedFormat {
        root.clone()
    }

    /// The memory type of the kernel's own mapping at `at`, and the end of the range with the same type. The
    /// kernel calls it from the launch of the first processor on.
    ///
    /// The default is write-back everywhere. On x86 the MTRRs correct the type of device memory. On Arm
    /// nothing does, and a processor may read speculatively from a device that is mapped write-back, so that
    /// backend overrides the default.
    fn host_memory_type(at: Spa) -> (MemoryType, Spa) {
        let _ = at;
        (MemoryType::WriteBack, Spa::new(u64::MAX))
    }

    /// The memory type of the root VM's nested mapping at `at`, and the end of the range with the same type.
    /// The kernel calls it from the launch of the first processor on. A backend reports a change of the types
    /// by an exit of class [`Cache`](crate::ExitClass::Cache) with the detail
    /// [`MEMORY_TYPES`](crate::MEMORY_TYPES).
    ///
    /// The default is write-back everywhere. Intel overrides it, because EPT memory types replace the MTRRs
    /// of the firmware.
    fn memory_type(memory: Self::Memory, at: Spa) -> (MemoryType, Spa) {
        let _ = (memory, at);
        (MemoryType::WriteBack, Spa::new(u64::MAX))
    }

    /// Whether the memory types allow that `at` is RAM and not a device.
    fn may_be_memory(memory: Self::Memory, at: Spa) -> bool {
        Self::memory_type(memory, at).0 == MemoryType::WriteBack
    }
}

/// The exit page of backend `A`.
pub type Page<A> = ExitPage<<A as Arch>::Words>;

/// The general registers in the exit page of backend `A`, which the holder can read once.
pub type Registers<A> = ExitRegisters<<A as Arch>::Words>;

/// Write-only access to the exit page of backend `A`.
pub type PageWriter<A> = ExitPageWriter<<A as Arch>::Words>;
