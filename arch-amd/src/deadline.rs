//! The root VM exits at a time, as nearly as SVM allows: it has no timer, and those of the machine are the root VM's.
//!
//! While a VS has a deadline, each physical interrupt exits (AMD APM vol. 2, 15.13.1). Before the deadline the guest shall
//! take it as ever: the intercept goes off until a handler returns, whose IRET exits instead. A guest with interrupts
//! disabled, and one to which none comes, is not stopped.
//!
//! Physical interrupts exit from other VMs in any case.

use plinth_arch_x86::time;
use plinth_hal::{Exit, ExitClass};

use crate::vmcb::{clean, exit_code, misc};
use crate::vs::SvmVs;

/// Has the root VM exit by the first interrupt from `deadline` on, or not.
pub(crate) fn set(vs: &mut SvmVs, deadline: Option<u64>) {
    if vs.deadline == deadline || !vs.is_root {
        return;
    }
    if vs.deadline.is_none() != deadline.is_none() {
        intercept(vs, if deadline.is_some() { misc::INTR } else { 0 });
    }
    vs.deadline = deadline;
}

/// An interrupt is there, or a handler is about to return. Returns an exit at the deadline.
#[cold]
pub(crate) fn exit(vs: &mut SvmVs) -> Option<Exit> {
    if let Some(exit) = reached(vs) {
        return Some(exit);
    }
    let is_interrupt = vs.view().control.exit_code as u32 == exit_code::INTR;
    intercept(vs, if is_interrupt { misc::IRET } else { misc::INTR });
    None
}

/// An exit at the deadline.
pub(crate) fn reached(vs: &SvmVs) -> Option<Exit> {
    let reached = vs.deadline.is_some_and(|deadline| time::counter() >= deadline);
    reached.then_some(Exit::of(ExitClass::Timer))
}

/// Intercepts interrupts or the return from them, or neither; IRET also for the sake of NMIs.
fn intercept(vs: &mut SvmVs, kind: u32) {
    let kind = kind | if vs.nmi.intercepts_return() { misc::IRET } else { 0 };
    let control = &mut vs.vmcb().control;
    control.intercept_misc = control.intercept_misc & !(misc::INTR | misc::IRET) | kind;
    vs.changed(clean::INTERCEPTS);
}
