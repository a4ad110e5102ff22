//! The ARMv8 EL2 backend.
//!
//! The extension runs at EL0 under EL2. On any ARMv8 CPU it can run on a stage 2 of its own. Where the CPU has the
//! virtualization host extensions (FEAT_VHE) and does not speculate past permissions, the kernel and the extension share the
//! EL2&0 translation regime instead, which makes the switch between them cheaper. The root VM owns EL1, the interrupt
//! controller and the timers: in its steady state it takes no exit. The kernel keeps stage 2 and the firmware interface
//! (PSCI), because a CPU that starts enters EL2.
//!
//! Code that only computes (table formats, PSCI numbers, trap registers) compiles everywhere and is tested on the host. Code
//! that executes system instructions compiles for AArch64 alone: the one `cfg_if!` below is the border.
//!
//! Where to look first:
//!
//! - A launch: `launch`, with the caller in `caller/` and secondary CPUs in `power/`.
//! - An exit: `switch` (the vectors and the way down), `fast_path` (answered at once), `exit` (classification), `cpu/` (the
//!   loop, and the exits that the kernel handles itself), `emulate` (as the bare machine).
//! - A vCPU: `vs`, with its registers in `el1_context` and `fpsimd`, injection in `inject`, and its deadline in `deadline`.
//! - What EL2 traps: `id/register_table` (the source), `id/controls` (the trap registers), `trap_config` (the rest of the
//!   EL2 configuration).
//! - Nested paging: `paging/` (formats, a CPU's own root), `stage2/` (TLB invalidation, forcing another CPU's guest to
//!   exit).
//! - Starting and stopping CPUs: `psci/` (calls, power states), `power/` (the handler, the pen, the entry of secondary
//!   CPUs).
//! - Interrupts: `gic/`, with the hypervisor timer.

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
        mod handover;
        mod inject;
        mod launch;
        mod memory;
        mod mpidr;
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
        pub use mpidr::own_hardware_id;
        pub use root_state::{El2Root, EntryFrame, Frame};
        pub use user::UserRegisters;
        pub use vm::El2Vm;
        pub use vs::El2Vs;
        pub use caller::way_back::{CallerFrame, go_back};
    }
}
