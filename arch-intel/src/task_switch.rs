//! Task switches by hardware, which VMX leaves to the hypervisor (Intel SDM vol. 3C, 26.4.2).
//!
//! The kernel does not carry them out: the old task's state would have to be written to a guest's memory. The guest gets what
//! 64-bit mode has for them, #GP. Where an interrupt or an exception comes through a task gate, that would take the event's
//! place; the VM shuts down instead, and the log says why.

use core::sync::atomic::{AtomicBool, Ordering};

use plinth_hal::{Event, Exit, ExitClass};

use crate::events::{self, CutOff};
use crate::vmcs::current::Current;
use crate::vmcs::field::{GUEST_RIP, QUALIFICATION};
use crate::vs::VmxVs;

/// What becomes of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    /// #GP with this error code, at the instruction that asked for it.
    Refuse(u32),
    /// Nothing can be done about the event that asked for it.
    ShutDown,
}

/// Answers the task switch that has just exited; `Some` where the VM shuts down.
#[cold]
pub(crate) fn exit(vs: &mut VmxVs) -> Option<Exit> {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    const GENERAL_PROTECTION: u8 = 13;
    let (answer, selector, at) =
        vs.with(|vmcs| (answer(vmcs), vmcs.read(QUALIFICATION) & 0xffff, vmcs.read(GUEST_RIP)));
    if !LOGGED.swap(true, Ordering::Relaxed) {
        let whose = if vs.is_root { "the root VM" } else { "a guest VM" };
        log::warn!(
            "{whose} switches to the task {selector:#x} at {at:#x}, which is not carried out: {answer:?}"
        );
    }
    match answer {
        Answer::Refuse(code) => {
            vs.deliver(Event::Exception { vector: GENERAL_PROTECTION, error_code: Some(code) });
            None
        }
        Answer::ShutDown => Some(Exit::of(ExitClass::Shutdown)),
    }
}

/// Qualification: the selector of the task in bits 15:0; CALL, IRET, JMP or a task gate in bits 31:30.
fn answer(vmcs: &Current) -> Answer {
    const GATE: u64 = 3;
    const REQUESTED_LEVEL: u32 = 3;
    const IN_IDT: u32 = 2;
    let qualification = vmcs.read(QUALIFICATION);
    match (qualification >> 30 & 3, events::cut_off(vmcs)) {
        (GATE, CutOff::Instruction(vector)) => Answer::Refuse(u32::from(vector) << 3 | IN_IDT),
        (GATE, _) => Answer::ShutDown,
        _ => Answer::Refuse(qualification as u32 & 0xffff & !REQUESTED_LEVEL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmcs::field::VECTORING_EVENT;
    use crate::vmcs::in_memory::{found, fresh};

    fn answered(qualification: u64, vectoring: u64) -> Answer {
        let vmcs = fresh();
        found(QUALIFICATION, qualification);
        found(VECTORING_EVENT, vectoring);
        answer(&vmcs)
    }

    #[test]
    fn an_instruction_is_refused() {
        for source in 0..3 {
            assert_eq!(answered(source << 30 | 0x2B, 0), Answer::Refuse(0x28), "source {source}");
        }
    }

    #[test]
    fn a_software_interrupt_is_refused_by_its_gate() {
        assert_eq!(answered(3 << 30 | 0x28, 0x8000_0421), Answer::Refuse(0x10A));
        assert_eq!(answered(3 << 30 | 0x28, 0x8000_0603), Answer::Refuse(0x1A), "INT3");
    }

    #[test]
    fn no_event_is_dropped() {
        for event in [0x8000_0020, 0x8000_0202, 0x8000_0B08] {
            assert_eq!(answered(3 << 30 | 0x28, event), Answer::ShutDown, "{event:#x}");
        }
    }
}
