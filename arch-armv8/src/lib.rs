//! The ARMv8 EL2 backend.
//!
//! The extension runs at EL0 under EL2. On every ARMv8 core that works with a stage 2 of its own; where the processor has
//! the virtualization host extensions, and does not speculate past permissions, kernel and extension share the EL2&0
//! translation regime instead, with less to switch. The root VM owns EL1, the interrupt controller
//! and the timers: at rest it takes no exit. What stays with the kernel is stage 2 and the firmware interface
//! (PSCI), because starting a processor means entering EL2.
//!
//! Code that only computes (table formats, PSCI numbers, what EL2 opens and closes) compiles everywhere and is tested on the
//! host. Code that executes system instructions compiles for AArch64 alone: the one `cfg_if!` below is the border.

#![no_std]
#![cfg_attr(
    not(target_arch = "aarch64"),
    allow(
        dead_code,
        unused_imports,
        reason = "elsewhere only the tests use what the system instructions would"
    )
)]

mod debug_registers;
mod el1_registers;
mod el1_timer;
mod features;
mod hyp_stub;
mod id;
mod kernel_fault;
mod machine;
mod options;
mod paging;
mod psci;
mod pstate;
mod serror;
mod store;
mod syndrome;
mod trap_config;
mod write_traps;

pub use paging::formats::{HostFormat, Stage2Format};

cfg_if::cfg_if! {
    if #[cfg(target_arch = "aarch64")] {
        mod backend;
        mod buffers;
        mod cache;
        mod caller;
        pub mod console;
        mod cpu;
        mod deadline;
        mod el1_context;
        mod el2;
        mod emulate;
        mod exit;
        mod exit_registers;
        mod fast_path;
        mod fpsimd;
        mod gic;
        mod guarded;
        mod inject;
        mod launch;
        mod memory;
        mod power;
        mod root_state;
        mod stage2;
        mod switch;
        mod sysreg;
        mod user;
        mod vm;
        mod vs;
        #[cfg(feature = "fault-injection")]
        mod fault_injection;

        pub use backend::El2;
        pub use gic::hyp_timer::counter;
        pub use cpu::El2Cpu;
        pub use caller::el1::from_el1;
        pub use launch::launch;
        pub use memory::{IdentityMemory, Words};
        pub use power::handler::own_hardware_id;
        pub use root_state::{El2Root, EntryFrame, Frame};
        pub use user::UserRegisters;
        pub use vm::El2Vm;
        pub use vs::El2Vs;
        pub use caller::way_back::{CallerFrame, go_back};
    }
}
