//! Breaks what the kernel has made, because a test guest asks for it: what no correct kernel lets happen cannot be
//! tested otherwise. No image has this but the tests' own.

use plinth_arch_x86::exit_registers::ExitRegisters;
use plinth_arch_x86::exit_registers::number::{RAX, RBX};
use plinth_arch_x86::nested_misconfig::path;
use plinth_arch_x86::stopped_guest::StoppedGuest;
use plinth_hal::{PAGE_SIZE, PhysicalMemory, Spa, VsHw};

use crate::vs::VmxVs;

/// RAX of the hypercall that gives the 4 KiB leaf of the page in RBX other low bits: those of RBX. Its result is 0.
const BREAK_LEAF: u64 = 0x504C_7E57_0049;

/// Serves the hypercall. Returns false, and changes nothing, for any other.
pub(crate) fn serve(vs: &mut VmxVs, registers: ExitRegisters) -> bool {
    let (memory, writer) = (vs.memory(), registers.writer());
    let [call, wanted] = registers.take([RAX, RBX]);
    if call != BREAK_LEAF || vs.privilege() != 0 {
        return false;
    }
    let [.., table, leaf] = path::<4>(|at| memory.read_u64(at), vs.nested_root(), wanted);
    let low = PAGE_SIZE - 1;
    if leaf & !low == 0 {
        return false;
    }
    let at = Spa::new(Spa::new(table).page().raw() + (wanted >> 12 & 0x1ff) * 8);
    memory.write_u64(at, leaf & !low | wanted & low);
    vs.flush_tlb();
    writer.set_general(RAX, 0);
    true
}
