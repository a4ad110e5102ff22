//! A software machine that implements Plinth's HAL on the host.
//!
//! The whole kernel runs against it in an ordinary test: real threads stand for physical processors, small
//! programs in simulated memory for guests, and plain Rust closures for the extension. It is also the
//! executable documentation of the HAL: each trait is implemented in a file of its own, without
//! anything that only real hardware would need.
//!
//! It is stricter than the emulators. What they forgive shows here:
//!
//! * TLBs are tagged, cache upper levels too, and forget only what they are told to ([`mmu`]);
//! * the processor trusts its copy of a VS's state until it is marked as changed ([`state`]);
//! * a kernel write outside the pool panics ([`ram`]);
//! * a processor may refuse to enter a guest ([`machine::Trouble`]).
//!
//! And it can be told to forget a flush or a mark, so that a test can show that it would notice.
//!
//! [`lab::Lab`] ties it together: start there.

#![forbid(unsafe_code)]

pub mod cpu;
mod emulate;
mod execute;
pub mod extension;
mod fiber;
pub mod format;
pub mod image;
pub mod isa;
pub mod lab;
pub mod machine;
pub mod mmu;
pub mod ram;
pub mod standard;
pub mod state;
pub mod user;
pub mod vm;
pub mod vs;

use plinth_hal::page_table::MemoryType;
use plinth_hal::{Arch, ExitFrame, Gpa, HostVa, Page, Spa};

/// The backend.
#[derive(Debug)]
pub struct Sim;

/// What the OS was when the hypervisor launched, on one processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootState {
    /// Address of the next instruction.
    pub instruction_pointer: u64,
    /// The general registers.
    pub registers: [u64; plinth_extension_api::abi::GENERAL_REGISTERS],
}

impl Arch for Sim {
    const NAME: &'static str = "sim";
    const BACKEND: u64 = plinth_extension_api::abi::BACKEND_SIMULATED;
    const HYPERCALL_ARGUMENTS: [usize; 4] = [1, 2, 3, 4];
    type HostFormat = format::SimFormat<HostVa>;
    type NestedFormat = format::SimFormat<Gpa>;
    type Memory = machine::Memory;
    type Words = ram::PageWords;
    type User = user::SimUser;
    type Vm = vm::SimVm;
    type Vs = vs::SimVs;
    type Cpu = cpu::SimCpu;
    type RootState = RootState;

    fn exit_page(memory: machine::Memory, frame: ExitFrame) -> Option<Page<Self>> {
        Some(Page::<Self>::new(ram::PageWords::new(memory, frame)))
    }

    fn memory_type(memory: machine::Memory, at: Spa) -> (MemoryType, Spa) {
        memory.0.memory_type(at)
    }
}
