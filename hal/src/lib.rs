//! The hardware abstraction that Plinth's kernel is generic over.
//!
//! Only mechanism is here: what a processor does when told. What is *right* to do is the kernel's
//! question where isolation hangs on it, and the extension's everywhere else. Nothing in this crate
//! knows an instruction set; the backends (`arch-*`) do, and `arch-sim` implements it all on the host.

#![no_std]
#![forbid(unsafe_code)]

pub mod addr;
mod arch;
mod cpu;
mod exit;
mod exit_page;
mod memory;
pub mod page_table;
mod policy;
pub mod register_table;
mod user;
mod vs;

pub use addr::{Gpa, Gva, HostVa, PAGE_SIZE, Spa, SpaRange, UserVa};
pub use arch::{Arch, Page, PageWriter, Registers};
pub use cpu::{HostCpu, HostFault, Obstacle, TakeBack};
pub use exit::{Event, Exit, ExitClass, MEMORY_TYPES, ProcessorEvent, Target};
pub use exit_page::{ExitFrame, ExitPage, ExitPageWriter, ExitRegisters, PageWords};
pub use memory::{FrameSource, GuestMemory, OutOfFrames, PhysicalMemory};
pub use policy::{IdPolicy, PolicyFull};
pub use register_table::{Authority, Opening};
pub use user::{UserContext, UserExit, UserFault};
pub use vs::{
    BadInstruction, BadRegister, GuestAccess, InterceptError, Intercepts, UnknownTables, VmHw, VsHw,
};
