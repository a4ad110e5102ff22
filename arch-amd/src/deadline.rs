//! The deadline of a run of the root VM, as exact as SVM allows: SVM has no preemption timer, and the
//! machine's timers belong to the root VM.
//!
//! While a VS has a deadline, the kernel intercepts physical interrupts (AMD APM vol. 2, 15.13.1). An
//! interrupt before the deadline must reach the guest, so the kernel disables the intercept for the
//! interrupt's handler, and intercepts the handler's IRET instead to enable it again. A guest with interrupts
//! disabled, or without interrupts, runs past its deadline.
//!
//! From guest VMs physical interrupts always exit.

use plinth_arch_x86::time;
use plinth_hal::{Exit, ExitClass};

use crate::vmcb::{clean, exit_code, misc};
use crate::vs::SvmVs;

/// Makes the root VM exit at the first interrupt from `deadline` on, a value of the TSC; `None` for no
/// deadline.
pub(crate) fn set(vs: &mut SvmVs, deadline: Option<u64>) {
    if vs.deadline == deadline || !vs.is_root {
        return;
    }
    if vs.deadline.is_none() != deadline.is_none() {
        intercept(vs, if deadline.is_some() { misc::INTR } else { 0 });
    }
    vs.deadline = deadline;
}

/// Handles the exit by a physical interrupt, or by the IRET of its handler. Returns an exit if the deadline
/// is reached.
#[cold]
pub(crate) fn exit(vs: &mut SvmVs) -> Option<Exit> {
    if let Some(exit) = reached(vs) {
        return Some(exit);
    }
    let is_interrupt = vs.view().control.exit_code as u32 == exit_code::INTR;
    intercept(vs, if is_interrupt { misc::IRET } else { misc::INTR });
    None
}

/// The exit to report if the deadline is reached.
pub(crate) fn reached(vs: &SvmVs) -> Option<Exit> {
    let reached = vs.deadline.is_some_and(|deadline| time::counter() >= deadline);
    reached.then_some(Exit::of(ExitClass::Timer))
}

/// Intercepts `kind`: physical interrupts, IRET, or neither (0). IRET stays intercepted while a handler of an
/// NMI runs.
fn intercept(vs: &mut SvmVs, kind: u32) {
    let kind = kind | if vs.nmi.intercepts_return() { misc::IRET } else { 0 };
    let control = &mut vs.vmcb().control;
    control.intercept_misc = control.intercept_misc & !(misc::INTR | misc::IRET) | kind;
    vs.changed(clean::INTERCEPTS);
}
