//! Events on their way into a guest (Intel SDM vol. 3C, "VM-Entry Controls for Event Injection").

use plinth_hal::Event;

use crate::vmcs::controls::{INTERRUPT_WINDOW, NMI_WINDOW};
use crate::vmcs::current::Current;
use crate::vmcs::field::{
    ACTIVITY, ENTRY_ERROR_CODE, ENTRY_EVENT, ENTRY_INSTRUCTION_LENGTH, EXIT_ERROR_CODE, GUEST_CR0,
    INSTRUCTION_LENGTH, INTERRUPTIBILITY, PENDING_DEBUG, PROCESSOR_CONTROLS, VECTORING_ERROR_CODE,
    VECTORING_EVENT,
};

const VALID: u32 = 1 << 31;
const ERROR_CODE: u32 = 1 << 11;
const TYPE_EXTERNAL: u32 = 0;
const TYPE_NMI: u32 = 2;
const TYPE_EXCEPTION: u32 = 3;
/// INT1, whose delivery goes on behind the instruction.
const TYPE_INT1: u32 = 5;
/// In the event that exited: its IRET has ended the blocking of NMIs.
pub(crate) const NMI_UNBLOCKED: u32 = 1 << 12;

const NMI_VECTOR: u32 = 2;
const UNDEFINED_VECTOR: u8 = 6;
/// Exceptions with an error code: 8, 10 to 14, 17 and 21.
const WITH_ERROR_CODE: u32 = 0x0022_7D00;

/// Interruptibility: blocking by STI and by MOV SS.
pub(crate) const BLOCKED_ONE: u32 = 3;
/// Interruptibility: an NMI is being handled.
pub(crate) const BLOCKED_NMI: u32 = 1 << 3;

/// The activity state of a processor that executes instructions.
pub(crate) const ACTIVE: u32 = 0;

/// Pending debug exceptions: a single step.
const SINGLE_STEP: u64 = plinth_arch_x86::single_step::STEP_CAUSE;

/// An event whose delivery was cut off by the exit is delivered again, unless it was a software interrupt or
/// exception: the instruction runs again and raises it anew.
#[inline]
pub(crate) fn redeliver(vmcs: &Current) {
    let event = vmcs.read(VECTORING_EVENT);
    if event & VALID != 0 {
        deliver_again(vmcs, event);
    }
}

/// Whether the exit has cut off the delivery of an event.
pub(crate) fn was_delivering(vmcs: &Current) -> bool {
    vmcs.read(VECTORING_EVENT) & VALID != 0
}

#[cold]
fn deliver_again(vmcs: &Current, event: u32) {
    let kind = event >> 8 & 7;
    if !matches!(kind, TYPE_EXTERNAL | TYPE_NMI | TYPE_EXCEPTION) {
        return;
    }
    if kind == TYPE_NMI {
        vmcs.write(INTERRUPTIBILITY, vmcs.read(INTERRUPTIBILITY) & !BLOCKED_NMI);
    }
    let code = (event & ERROR_CODE != 0).then(|| vmcs.read(VECTORING_ERROR_CODE));
    enter_with(vmcs, event & (VALID | ERROR_CODE | 0x7ff), code);
}

/// An event whose delivery an exit has cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CutOff {
    /// None.
    Nothing,
    /// An interrupt, by its vector.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// An exception: the instruction runs again and raises it anew.
    Exception,
    /// The interrupt or exception, by its vector, that an instruction is for: the same.
    Instruction(u8),
}

/// What the last exit has cut off.
pub(crate) fn cut_off(vmcs: &Current) -> CutOff {
    let event = vmcs.read(VECTORING_EVENT);
    match event >> 8 & 7 {
        _ if event & VALID == 0 => CutOff::Nothing,
        TYPE_EXTERNAL => CutOff::Interrupt(event as u8),
        TYPE_NMI => CutOff::Nmi,
        TYPE_EXCEPTION => CutOff::Exception,
        _ => CutOff::Instruction(event as u8),
    }
}

/// Whether the event that exited is INT1.
pub(crate) const fn is_int1(event: u32) -> bool {
    event >> 8 & 7 == TYPE_INT1
}

/// Delivers the exception that has just exited, in the place of what was to be delivered.
pub(crate) fn raise_again(vmcs: &Current, event: u32) {
    if is_int1(event) {
        let length = vmcs.read(INSTRUCTION_LENGTH);
        // SAFETY: it says where the guest goes on; VM entry checks it.
        unsafe { vmcs.control(ENTRY_INSTRUCTION_LENGTH, length) };
    }
    let code = (event & ERROR_CODE != 0).then(|| vmcs.read(EXIT_ERROR_CODE));
    enter_with(vmcs, event & (VALID | ERROR_CODE | 0x7ff), code);
}

fn enter_with(vmcs: &Current, event: u32, error_code: Option<u32>) {
    // SAFETY: an event changes the guest only; VM entry checks its form.
    unsafe {
        if let Some(code) = error_code {
            vmcs.control(ENTRY_ERROR_CODE, code);
        }
        vmcs.control(ENTRY_EVENT, event);
    }
}

/// Delivers `event` at the next entry. Returns whether it has to wait: an NMI that the guest cannot take yet.
pub(crate) fn inject(vmcs: &Current, event: Event) -> bool {
    match event {
        Event::Nmi => return inject_nmi(vmcs),
        Event::Undefined => inject_exception(vmcs, UNDEFINED_VECTOR, None),
        Event::Exception { vector, error_code } => inject_exception(vmcs, vector, error_code),
    }
    false
}

/// Whether an event is on its way to the guest, is held back from it, or was held off by its last instruction; or the guest
/// sleeps otherwise than by HLT.
pub(crate) fn expects_one(vmcs: &Current) -> bool {
    const HALTED: u32 = 1;
    let injected = vmcs.read(ENTRY_EVENT) & VALID != 0;
    let blocked = vmcs.read(INTERRUPTIBILITY) & (BLOCKED_NMI | BLOCKED_ONE) != 0;
    let waits = vmcs.read(PROCESSOR_CONTROLS) & (NMI_WINDOW | INTERRUPT_WINDOW) != 0;
    injected
        || blocked
        || waits
        || vmcs.read(PENDING_DEBUG) & SINGLE_STEP != 0
        || vmcs.read(ACTIVITY) > HALTED
}

fn inject_nmi(vmcs: &Current) -> bool {
    let blocked = vmcs.read(INTERRUPTIBILITY) & (BLOCKED_NMI | BLOCKED_ONE) != 0;
    if blocked || vmcs.read(ENTRY_EVENT) & VALID != 0 {
        set_nmi_window(vmcs, true);
        return true;
    }
    enter_with(vmcs, VALID | TYPE_NMI << 8 | NMI_VECTOR, None);
    false
}

fn inject_exception(vmcs: &Current, vector: u8, error_code: Option<u32>) {
    const PROTECTED: u64 = 1;
    let takes_code = WITH_ERROR_CODE >> (vector & 31) & 1 != 0 && vmcs.read(GUEST_CR0) & PROTECTED != 0;
    let code = takes_code.then_some(error_code.unwrap_or(0) & 0xffff);
    let flag = if takes_code { ERROR_CODE } else { 0 };
    vmcs.write(ACTIVITY, ACTIVE);
    enter_with(vmcs, VALID | TYPE_EXCEPTION << 8 | flag | u32::from(vector & 31), code);
}

/// Delivers an interrupt at the next entry: the guest can take it.
pub(crate) fn interrupt(vmcs: &Current, vector: u8) {
    enter_with(vmcs, VALID | TYPE_EXTERNAL << 8 | u32::from(vector), None);
}

/// Has the guest exit as soon as it can take an NMI, or no longer.
pub(crate) fn set_nmi_window(vmcs: &Current, on: bool) {
    set_window(vmcs, NMI_WINDOW, on);
}

/// Has the guest exit as soon as it can take an interrupt, or no longer.
pub(crate) fn set_interrupt_window(vmcs: &Current, on: bool) {
    set_window(vmcs, INTERRUPT_WINDOW, on);
}

fn set_window(vmcs: &Current, window: u32, on: bool) {
    let controls = vmcs.read(PROCESSOR_CONTROLS) & !window;
    // SAFETY: one more reason to exit, or one less that only this module asks for.
    unsafe { vmcs.control(PROCESSOR_CONTROLS, controls | if on { window } else { 0 }) };
}

/// Forgets what was to be delivered.
pub(crate) fn forget(vmcs: &Current) {
    enter_with(vmcs, 0, None);
    set_nmi_window(vmcs, false);
    set_interrupt_window(vmcs, false);
}

/// An instruction that faulted has not been stepped over: its trap must not be pending when it runs again. The manual
/// has the field clear then (Intel SDM vol. 3C, "Saving Non-Register State"); Bochs leaves the trap in it.
pub(crate) fn forget_step(vmcs: &Current) {
    const BLOCKED_BY_MOV_SS: u32 = 1 << 1;
    let pending = vmcs.read(PENDING_DEBUG);
    if pending & SINGLE_STEP != 0 && vmcs.read(INTERRUPTIBILITY) & BLOCKED_BY_MOV_SS == 0 {
        vmcs.write(PENDING_DEBUG, pending & !SINGLE_STEP);
    }
}

/// What the processor does after an instruction that has been carried out for the guest.
#[inline]
pub(crate) fn instruction_done(vmcs: &Current) {
    let blocked = vmcs.read(INTERRUPTIBILITY);
    if blocked & BLOCKED_ONE != 0 {
        vmcs.write(INTERRUPTIBILITY, blocked & !BLOCKED_ONE);
    }
}

/// The instruction that has been carried out ends with a single-step trap.
pub(crate) fn trap(vmcs: &Current) {
    vmcs.write(PENDING_DEBUG, vmcs.read(PENDING_DEBUG) | SINGLE_STEP);
}
