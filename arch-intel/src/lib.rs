//! The Intel VMX backend.
//!
//! EPT with unrestricted guests, VPIDs where the processor has them, MSR and I/O bitmaps. Which controls exist is
//! asked of the capability MSRs and nothing else. XCR0 and the FPU are the guest's also while the kernel and the
//! extension run: both do without.

#![no_std]

mod control_registers;
mod cpu;
mod deadline;
mod emulate;
mod events;
mod exit;
mod fast_path;
#[cfg(feature = "fault-injection")]
mod fault_injection;
mod features;
mod launch;
mod lazy_state;
mod memory_types;
mod msr_exits;
mod msr_table;
mod nmi;
mod rare_exits;
mod reflect;
mod registers;
mod reset;
mod root_state;
mod segments;
mod stopped_guest;
mod switch;
mod task_switch;
mod vm;
mod vmcs;
mod vmx;
mod vs;

pub use cpu::VmxCpu;
pub use features::is_our_vendor;
pub use launch::{launch, refusal};
pub use root_state::VmxRoot;
pub use vm::VmxVm;
pub use vs::VmxVs;

use plinth_arch_x86::exit_registers::ExitPage;
use plinth_arch_x86::user::UserRegisters;
use plinth_arch_x86::{EptFormat, IdentityMemory, KernelFormat, Words};
use plinth_hal::page_table::MemoryType;
use plinth_hal::{ExitFrame, Spa};

/// Intel VMX.
#[derive(Debug)]
pub struct Vmx;

impl plinth_hal::Arch for Vmx {
    const NAME: &'static str = "Intel VMX";
    const BACKEND: u64 = plinth_extension_api::abi::BACKEND_VMX;
    const HYPERCALL_ARGUMENTS: [usize; 4] = plinth_arch_x86::HYPERCALL_ARGUMENTS;

    type HostFormat = KernelFormat;
    type NestedFormat = EptFormat;
    type Memory = IdentityMemory;
    type Words = &'static Words;
    type User = UserRegisters;
    type Vm = VmxVm;
    type Vs = VmxVs;
    type Cpu = plinth_arch_x86::cpu::Cpu<VmxCpu>;
    type RootState = VmxRoot;

    fn exit_page(memory: IdentityMemory, frame: ExitFrame) -> Option<ExitPage> {
        memory.exit_page(frame)
    }

    fn guest_vm_format(root: &EptFormat) -> EptFormat {
        root.with_split_code(features::Features::current().splits_guest_code)
    }

    fn memory_type(_: IdentityMemory, at: Spa) -> (MemoryType, Spa) {
        memory_types::type_at(at)
    }
}
