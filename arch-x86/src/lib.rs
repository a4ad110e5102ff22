//! What the two x86 vendors share: formats of page tables, and the pure parts of handling an exit.

#![no_std]

/// The general registers that the arguments of a hypercall are in: RDI, RSI, RDX, R10.
pub const HYPERCALL_ARGUMENTS: [usize; 4] = [7, 6, 2, 10];

pub mod acpi;
pub mod acpi_sleep;
pub mod ap_startup;
pub mod apic;
pub mod apic_access;
pub mod console;
pub mod cpu;
pub mod cpuid;
pub mod decode;
pub mod departure;
pub mod efer;
mod ept_format;
mod exceptions;
pub mod exit_registers;
pub mod extended_state;
#[cfg(feature = "fault-injection")]
pub mod fault_injection;
pub mod guest_walk;
pub mod halt;
mod host_format;
pub mod interrupts;
mod kernel_fault;
pub mod kpti;
pub mod launch;
pub mod launch_stack;
mod long_mode_entry;
mod memory;
pub mod msr;
pub mod msr_access;
pub mod msr_maps;
mod msr_requests;
pub mod msr_table;
pub mod mtrr;
mod nested_format;
pub mod nested_misconfig;
pub mod nmi;
pub mod per_cpu;
pub mod port_table;
pub mod reset;
pub mod root_state;
pub mod single_step;
pub mod speculation;
pub mod stopped_guest;
pub mod user;

pub use ept_format::{EptCapabilities, EptFormat};
pub use host_format::{HostFormat, KernelFormat, UserFormat};
pub use long_mode_entry::PAT;
pub use memory::{IdentityMemory, Words};
pub use msr_requests::{MSR_REQUEST_PAGES, MsrRequests};
pub use nested_format::NptFormat;

#[cfg(test)]
mod format_tests;
pub mod time;
