//! The hardware abstraction layer: the traits that a backend implements and the kernel is generic over.
//!
//! The traits describe mechanism only: what a processor does when the kernel tells it to. Policy stays above.
//! The kernel decides where isolation depends on the decision, and the extension decides everything else. The
//! crate contains no code for an instruction set. The backends `arch-amd`, `arch-intel` and `arch-armv8` do,
//! and `arch-sim` implements every trait on the host for tests.
//!
//! Where to begin:
//!
//! * [`Arch`] names the types of a backend.
//! * [`HostCpu`] is a physical processor: it enters the extension, runs a VS and kicks other processors.
//! * [`VsHw`] and [`VmHw`] are a virtual state and a VM as the hardware holds them.
//! * [`Exit`] says why a VS stopped running, [`UserExit`] why the extension stopped.
//! * [`ExitPage`] is the page that the kernel and the extension share.
//! * [`page_table`] is the engine that edits nested tables and the host's own tables.

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
