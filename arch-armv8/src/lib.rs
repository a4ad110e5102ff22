//! The ARMv8 EL2 backend.
//!
//! The extension runs at EL0 under EL2. On every ARMv8 core that works with a stage 2 of its own; where the processor has
//! the virtualization host extensions, and does not speculate past permissions, kernel and extension share the EL2&0
//! translation regime instead, with less to switch. The root VM owns EL1, the interrupt controller
//! and the timers: at rest it takes no exit. What stays with the kernel is stage 2 and the firmware interface
//! (PSCI), because starting a processor means entering EL2.
//!
//! What only computes (formats, PSCI numbers, what EL2 opens and closes) compiles everywhere and is tested on the host; what executes system
//! instructions only for AArch64.

#![no_std]
#![cfg_attr(
    not(target_arch = "aarch64"),
    allow(dead_code, reason = "elsewhere only the tests use what the system instructions would")
)]

mod bank_registers;
mod banks;
mod controls;
mod debug_registers;
mod descriptor;
mod facts;
mod fdt;
mod features;
mod formats;
mod id_registers;
mod id_table;
mod options;
mod own_fault;
mod private_interrupts;
mod psci;
mod pstate;
mod regime;
mod register_table;
mod root_error;
mod roots;
mod slots;
mod spin_table;
mod store;
mod stub;
mod syndrome;
mod timer;
#[cfg(any(test, target_arch = "aarch64"))]
mod translation;
mod write_traps;

#[cfg(test)]
mod format_tests;

#[cfg(target_arch = "aarch64")]
mod bank;
#[cfg(target_arch = "aarch64")]
mod bcm2836;
#[cfg(target_arch = "aarch64")]
mod buffers;
#[cfg(target_arch = "aarch64")]
mod caller;
#[cfg(target_arch = "aarch64")]
mod clock;
#[cfg(target_arch = "aarch64")]
pub mod console;
#[cfg(target_arch = "aarch64")]
mod cpu;
#[cfg(target_arch = "aarch64")]
mod el1_caller;
#[cfg(target_arch = "aarch64")]
mod el2_caller;
#[cfg(target_arch = "aarch64")]
mod el2_state;
#[cfg(target_arch = "aarch64")]
mod emulate;
#[cfg(target_arch = "aarch64")]
mod exit_registers;
#[cfg(target_arch = "aarch64")]
mod exits;
#[cfg(all(target_arch = "aarch64", feature = "fault-injection"))]
mod fault_injection;
#[cfg(target_arch = "aarch64")]
mod firmware;
#[cfg(target_arch = "aarch64")]
mod gic;
#[cfg(target_arch = "aarch64")]
mod guarded;
#[cfg(any(test, target_arch = "aarch64"))]
mod guest_walk;
#[cfg(target_arch = "aarch64")]
mod host;
#[cfg(target_arch = "aarch64")]
mod inject;
#[cfg(target_arch = "aarch64")]
mod interface;
#[cfg(target_arch = "aarch64")]
mod launch;
#[cfg(target_arch = "aarch64")]
mod memory;
#[cfg(target_arch = "aarch64")]
mod pen;
#[cfg(target_arch = "aarch64")]
mod processors;
#[cfg(target_arch = "aarch64")]
mod recall;
#[cfg(target_arch = "aarch64")]
mod redistributors;
#[cfg(target_arch = "aarch64")]
mod root_state;
#[cfg(target_arch = "aarch64")]
mod secondary;
#[cfg(target_arch = "aarch64")]
mod serve;
#[cfg(target_arch = "aarch64")]
mod switch;
#[cfg(target_arch = "aarch64")]
mod tlb;
#[cfg(target_arch = "aarch64")]
mod traps;
#[cfg(target_arch = "aarch64")]
mod user;
#[cfg(target_arch = "aarch64")]
mod vectors;
#[cfg(target_arch = "aarch64")]
mod vm;
#[cfg(target_arch = "aarch64")]
mod vs;
#[cfg(target_arch = "aarch64")]
mod way_back;

pub use formats::{HostFormat, Stage2Format};

#[cfg(target_arch = "aarch64")]
pub use backend::*;

#[cfg(target_arch = "aarch64")]
mod backend {
    pub use crate::clock::counter;
    pub use crate::cpu::El2Cpu;
    pub use crate::el1_caller::from_el1;
    pub use crate::launch::launch;
    pub use crate::memory::{IdentityMemory, Words};
    pub use crate::processors::own_hardware_id;
    pub use crate::root_state::{El2Root, EntryFrame, Frame};
    pub use crate::user::UserRegisters;
    pub use crate::vm::El2Vm;
    pub use crate::vs::El2Vs;
    pub use crate::way_back::{CallerFrame, go_back};

    /// EL2 of ARMv8.
    #[derive(Debug)]
    pub struct El2;

    impl plinth_hal::Arch for El2 {
        const NAME: &'static str = "ARMv8 EL2";
        const BACKEND: u64 = plinth_extension_api::abi::BACKEND_EL2;
        const HYPERCALL_ARGUMENTS: [usize; 4] = [1, 2, 3, 4];

        type HostFormat = crate::HostFormat;
        type NestedFormat = crate::Stage2Format;
        type Memory = IdentityMemory;
        type Words = &'static Words;
        type User = UserRegisters;
        type Vm = El2Vm;
        type Vs = El2Vs;
        type Cpu = El2Cpu;
        type RootState = El2Root;

        fn exit_page(
            memory: IdentityMemory,
            frame: plinth_hal::ExitFrame,
        ) -> Option<crate::exit_registers::ExitPage> {
            memory.exit_page(frame)
        }

        fn host_memory_type(at: plinth_hal::Spa) -> (plinth_hal::page_table::MemoryType, plinth_hal::Spa) {
            crate::banks::BANKS.memory_type(at)
        }

        fn is_exception(class: u8) -> bool {
            class < 64
        }

        fn is_interrupt(number: u8) -> bool {
            number < 2
        }
    }
}
