//! The AMD SVM backend.
//!
//! Nested paging, ASIDs, permission maps, clean bits; next-RIP saving, decode assists and flush-by-ASID where
//! the processor has them. XCR0 and the FPU are never touched: kernel and extension run without them, so
//! the guest's stay where they are and XSETBV needs no intercept.

#![no_std]

mod cpu;
mod deadline;
mod emulate;
mod encryption;
mod exit;
mod fast_path;
mod features;
mod guest_nmi;
mod launch;
mod memory_types;
mod msr_exits;
mod msr_table;
mod next_rip;
mod reflect;
mod registers;
mod reset;
mod root_state;
mod spec_ctrl;
mod stopped_guest;
mod switch;
mod vm;
mod vmcb;
mod vs;

pub use cpu::SvmCpu;
pub use features::is_our_vendor;
pub use launch::{launch, refusal};
pub use root_state::SvmRoot;
pub use vm::SvmVm;
pub use vs::SvmVs;

use plinth_arch_x86::exit_registers::ExitPage;
use plinth_arch_x86::user::UserRegisters;
use plinth_arch_x86::{IdentityMemory, KernelFormat, NptFormat, Words};
use plinth_hal::ExitFrame;

/// AMD SVM.
#[derive(Debug)]
pub struct Svm;

impl plinth_hal::Arch for Svm {
    const NAME: &'static str = "AMD SVM";
    const BACKEND: u64 = plinth_extension_api::abi::BACKEND_SVM;
    const HYPERCALL_ARGUMENTS: [usize; 4] = plinth_arch_x86::HYPERCALL_ARGUMENTS;

    type HostFormat = KernelFormat;
    type NestedFormat = NptFormat;
    type Memory = IdentityMemory;
    type Words = &'static Words;
    type User = UserRegisters;
    type Vm = SvmVm;
    type Vs = SvmVs;
    type Cpu = plinth_arch_x86::cpu::Cpu<SvmCpu>;
    type RootState = SvmRoot;

    fn exit_page(memory: IdentityMemory, frame: ExitFrame) -> Option<ExitPage> {
        memory.exit_page(frame)
    }

    fn may_be_memory(_: IdentityMemory, at: plinth_hal::Spa) -> bool {
        memory_types::may_be_memory(at)
    }
}
