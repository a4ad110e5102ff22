//! The backend as the kernel sees it: [`El2`] names the types that implement the HAL.

use crate::cpu::El2Cpu;
use crate::memory::{IdentityMemory, Words};
use crate::root_state::El2Root;
use crate::user::UserRegisters;
use crate::vm::El2Vm;
use crate::vs::El2Vs;

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
        crate::machine::ram_map::RAM_MAP.memory_type(at)
    }

    fn is_exception(class: u8) -> bool {
        class < 64
    }

    fn is_interrupt(number: u8) -> bool {
        number < 2
    }
}
