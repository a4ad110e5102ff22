//! How a callback ends: by one resuming call.

use crate::abi::{Call, Error, HYPERCALL_REFUSED, Status};
use crate::arch::{call, call_short};
use crate::event::Event;
use crate::exit::{Exit, Page};
use crate::id::VsId;
use crate::plinth::Plinth;
use crate::syscall::{self, handle};

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Resume {
    /// The instruction that exited is skipped and the active VS runs on. If the kernel cannot tell
    /// how long it is, because it was overwritten meanwhile, the VS finds it undefined.
    AdvanceAndRun,
    /// The active VS runs on as it is.
    Run,
    /// This VS runs.
    RunVs(VsId),
    /// The instruction that exited is skipped, as for [`Resume::AdvanceAndRun`], and this VS runs.
    AdvanceAndRunVs(VsId),
    /// The active VS runs on and finds this event.
    Inject(Event),
    /// The active VS, a root VM's, gets its bare PP back: the exit was its hypercall for it, and the result is 0. If
    /// the kernel refuses, the result is [`HYPERCALL_REFUSED`] and it runs on.
    Promote,
    /// From [`crate::Extension::fail`]: the extension goes on where it faulted.
    Again,
    /// The extension cannot go on: [`crate::Extension::fail`], else the kernel's own pass-through.
    GiveUp,
}

/// Ends the vmexit or fail callback. The two usual ways are a few instructions; the rest is out of line and gets
/// nothing but the page, so that nothing has to be kept for it.
#[inline(always)]
pub(crate) fn carry_out(resume: Resume, exit: Exit<'_>) -> ! {
    match resume {
        Resume::AdvanceAndRun => {
            // SAFETY: The call takes no memory, and no destructor of a callback is due.
            let status = unsafe { call_short(Call::VsAdvanceAndRunCurrent.number(), handle()) };
            cannot_advance(status, exit.into_page())
        }
        Resume::Run => {
            // SAFETY: As above.
            let status = unsafe { call_short(Call::VsRunCurrent.number(), handle()) };
            failed("VsRunCurrent", status)
        }
        _ => seldom(resume, exit.into_page()),
    }
}

#[cold]
#[inline(never)]
fn seldom(resume: Resume, page: Page) -> ! {
    let mut exit = Exit::of_page(page);
    match resume {
        Resume::Inject(event) => inject(exit.vs(), event),
        Resume::AdvanceAndRunVs(vs) => {
            let status = leave(Call::VsAdvanceAndRun, vs);
            if status.result() == Err(Error::Denied.into()) {
                cannot_advance(status, exit.into_page())
            }
            failed("VsAdvanceAndRun", status)
        }
        Resume::Promote => {
            let status = leave(Call::VsPromote, exit.vs());
            log::warn!("the kernel does not give the processor back: {:?}", status.result());
            exit.set_general(0, HYPERCALL_REFUSED);
            carry_out(Resume::AdvanceAndRun, exit)
        }
        _ => without_exit(resume),
    }
}

/// Ends a callback that has no exit: bootstrap.
#[cold]
pub(crate) fn without_exit(resume: Resume) -> ! {
    match resume {
        Resume::RunVs(vs) => failed("VsRun", leave(Call::VsRun, vs)),
        Resume::Again => failed("ControlAgain", leave(Call::ControlAgain, VsId::from_raw(0))),
        Resume::GiveUp => syscall::exit(),
        other => {
            log::error!("the callback cannot end by {other:?}, because no VS is active; use RunVs");
            syscall::exit()
        }
    }
}

/// Makes a resuming call, which comes back only if it failed.
fn leave(number: Call, vs: VsId) -> Status {
    // SAFETY: The call takes no memory, and no destructor of a callback is due.
    unsafe { call(number.number(), [handle(), vs.raw(), 0, 0, 0, 0]) }.status
}

/// The guest may overwrite its instruction at any time, so this is no failure of the extension.
#[cold]
#[inline(never)]
fn cannot_advance(status: Status, page: Page) -> ! {
    let exit = Exit::of_page(page);
    let (at, result) = (exit.instruction_pointer(), status.result());
    log::warn!("the instruction that exited is not at {at:#x} any more ({result:?}); it counts as undefined");
    inject(exit.vs(), Event::UNDEFINED)
}

fn inject(vs: VsId, event: Event) -> ! {
    if let Err(failure) = Plinth::opened().vs_inject(vs, event) {
        failed("VsInject", failure.into());
    }
    failed("VsRunCurrent", leave(Call::VsRunCurrent, vs))
}

/// A resuming call came back.
#[cold]
#[inline(never)]
fn failed(call: &str, status: Status) -> ! {
    log::error!("{call} failed: {:?}", status.result());
    syscall::exit()
}
