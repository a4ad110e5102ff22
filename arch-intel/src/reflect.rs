//! Reflection of #DB and #AC: both exceptions exit, and the kernel injects them into the guest as the
//! processor would have delivered them.
//!
//! A guest can arrange that the delivery of such an exception raises the same exception again: by a data
//! breakpoint on its stack, or by a misaligned stack at privilege level 3. The processor would then deliver
//! exceptions without end, and take neither interrupts nor NMIs, nor exit by the preemption timer
//! (CVE-2015-8104, CVE-2015-5307). The exit in each round gives the kernel control.

use crate::events::{self, BLOCKED_NMI, BLOCKED_ONE, CutOff};
use crate::vmcs::current::Current;
use crate::vmcs::field::{
    EXIT_EVENT, GUEST_DEBUG_CONTROL, GUEST_DR7, INTERRUPTIBILITY, PENDING_DEBUG, QUALIFICATION,
};

/// Vectors.
pub(crate) const DEBUG: u32 = 1;
const ALIGNMENT_CHECK: u32 = 17;

/// The exception bitmap of every VS.
pub(crate) const REFLECTED: u32 = 1 << DEBUG | 1 << ALIGNMENT_CHECK;

/// Injects the exception that has just exited at the next entry. `status` is the guest's DR6. Returns the new
/// DR6, and the event whose delivery the exception has interrupted: the caller delivers that event after the
/// exception.
///
/// `causes` masks the causes of a #DB that the guest may see: the kernel's own single step is not among them.
pub(crate) fn reflect(vmcs: &Current, status: u64, causes: u64) -> (u64, CutOff) {
    let (event, cut_off) = (vmcs.read(EXIT_EVENT), events::cut_off(vmcs));
    let unblocked = event & events::NMI_UNBLOCKED != 0 && cut_off == CutOff::Nothing;
    // The guest's handler starts without an interrupt shadow and without a pending trap. If an IRET raised
    // the exception, the IRET was not completed, so NMIs stay blocked.
    let blocked = vmcs.read(INTERRUPTIBILITY) & !BLOCKED_ONE | if unblocked { BLOCKED_NMI } else { 0 };
    vmcs.write(INTERRUPTIBILITY, blocked);
    vmcs.write(PENDING_DEBUG, 0);
    let status = if event & 0xff == DEBUG { debug_registers(vmcs, event, status, causes) } else { status };
    events::raise_again(vmcs, event);
    (status, cut_off)
}

/// Updates DR7 and IA32_DEBUGCTL as the delivery of a #DB does: a #DB that exits leaves them unchanged (Intel
/// SDM vol. 3C, 27.1). Returns the new DR6.
fn debug_registers(vmcs: &Current, event: u32, status: u64, causes: u64) -> u64 {
    const GENERAL_DETECT: u64 = 1 << 13;
    const LAST_BRANCHES_AND_BRANCH_STEPS: u64 = 3;
    vmcs.write(GUEST_DR7, vmcs.read(GUEST_DR7) & !GENERAL_DETECT);
    vmcs.write(GUEST_DEBUG_CONTROL, vmcs.read(GUEST_DEBUG_CONTROL) & !LAST_BRANCHES_AND_BRANCH_STEPS);
    // INT1 sets no cause in DR6.
    if events::is_int1(event) { status } else { debug_status(status, vmcs.read(QUALIFICATION) & causes) }
}

/// DR6 after a #DB with these causes, in the form of the exit qualification (Intel SDM vol. 3B, 17.2.3; vol.
/// 3C, table 27-1). B0 to B3 are replaced; BD and BS are added to the old ones. The bits of bus locks and of
/// transactions are inverted: 0 means that they are a cause.
const fn debug_status(old: u64, causes: u64) -> u64 {
    const BREAKPOINTS: u64 = 0xF;
    const ADDED: u64 = 1 << 13 | 1 << 14;
    const INVERTED: u64 = 1 << 11 | 1 << 16;
    const ONES: u64 = 0xFFFF_0FF0;
    (old & !BREAKPOINTS | ONES | causes & (BREAKPOINTS | ADDED)) & !(causes & INVERTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmcs::field::{
        ENTRY_ERROR_CODE, ENTRY_EVENT, ENTRY_INSTRUCTION_LENGTH, EXIT_ERROR_CODE, INSTRUCTION_LENGTH,
        VECTORING_EVENT,
    };
    use crate::vmcs::in_memory::{found, fresh};

    const VALID: u32 = 1 << 31;
    const HARDWARE: u32 = 3 << 8;
    const DR6: u64 = 0xFFFF_0FF0;

    fn exited(event: u32, vectoring: u32, causes: u64) -> Current {
        let vmcs = fresh();
        found(EXIT_EVENT, (VALID | event).into());
        found(EXIT_ERROR_CODE, 0);
        found(VECTORING_EVENT, vectoring.into());
        found(QUALIFICATION, causes);
        found(INSTRUCTION_LENGTH, 1);
        vmcs.write(INTERRUPTIBILITY, BLOCKED_ONE);
        vmcs.write(PENDING_DEBUG, 1 << 14);
        vmcs.write(GUEST_DR7, 1 << 13 | 0x401);
        vmcs.write(GUEST_DEBUG_CONTROL, 3 | 1 << 6);
        vmcs
    }

    #[test]
    fn a_debug_exception_tells_its_causes_and_ends_general_detection() {
        let vmcs = exited(HARDWARE | DEBUG, 0, 1 << 14 | 2);
        assert_eq!(
            reflect(&vmcs, DR6 | 1 << 13 | 9, u64::MAX),
            (DR6 | 1 << 13 | 1 << 14 | 2, CutOff::Nothing)
        );
        assert_eq!(vmcs.read(ENTRY_EVENT), VALID | HARDWARE | DEBUG);
        assert_eq!((vmcs.read(GUEST_DR7), vmcs.read(GUEST_DEBUG_CONTROL)), (0x401, 1 << 6));
        assert_eq!((vmcs.read(INTERRUPTIBILITY), vmcs.read(PENDING_DEBUG)), (0, 0));
    }

    #[test]
    fn the_kernels_step_is_no_cause_of_the_guests() {
        let vmcs = exited(HARDWARE | DEBUG, 0, 1 << 14 | 2);
        assert_eq!(reflect(&vmcs, DR6, !(1 << 14)), (DR6 | 2, CutOff::Nothing));
    }

    #[test]
    fn bits_of_dr6_that_are_0_for_a_cause_become_0() {
        assert_eq!(debug_status(DR6, 1 << 16), DR6 & !(1 << 16));
        assert_eq!(debug_status(DR6 & !(1 << 11), 1), DR6 | 1);
    }

    #[test]
    fn int1_goes_on_behind_the_instruction() {
        const INT1: u32 = 5 << 8 | DEBUG;
        let vmcs = exited(INT1, 0, 0);
        assert_eq!(reflect(&vmcs, DR6 | 8, u64::MAX), (DR6 | 8, CutOff::Nothing));
        assert_eq!((vmcs.read(ENTRY_EVENT), vmcs.read(ENTRY_INSTRUCTION_LENGTH)), (VALID | INT1, 1));
    }

    #[test]
    fn an_alignment_check_keeps_its_error_code_and_the_debug_registers() {
        const WITH_CODE: u32 = 1 << 11;
        let vmcs = exited(HARDWARE | WITH_CODE | ALIGNMENT_CHECK, 0, 0);
        assert_eq!(reflect(&vmcs, DR6, u64::MAX), (DR6, CutOff::Nothing));
        assert_eq!(vmcs.read(ENTRY_EVENT), VALID | HARDWARE | WITH_CODE | ALIGNMENT_CHECK);
        assert_eq!((vmcs.read(ENTRY_ERROR_CODE), vmcs.read(GUEST_DR7)), (0, 1 << 13 | 0x401));
    }

    #[test]
    fn what_it_cuts_off_is_not_lost() {
        let cut_off = |vectoring| {
            let vmcs = exited(HARDWARE | events::NMI_UNBLOCKED | DEBUG, vectoring, 0);
            let (_, cut_off) = reflect(&vmcs, DR6, u64::MAX);
            (cut_off, vmcs.read(INTERRUPTIBILITY) & BLOCKED_NMI != 0)
        };
        assert_eq!(cut_off(VALID | 0x40), (CutOff::Interrupt(0x40), false));
        assert_eq!(cut_off(VALID | 2 << 8 | 2), (CutOff::Nmi, false));
        assert_eq!(cut_off(VALID | HARDWARE | 14), (CutOff::Exception, false), "it is raised anew");
        assert_eq!(cut_off(0), (CutOff::Nothing, true), "an IRET runs again");
    }
}
