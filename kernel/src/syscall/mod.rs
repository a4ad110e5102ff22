//! System calls of the extension: from registers to objects, and back.
//!
//! Every argument is hostile until the kernel has looked it up. A call either *returns* to the extension,
//! with outputs or a typed failure that names the argument, or it *resumes* a VS, which ends the extension's
//! callback.

mod callback;
mod control;
mod debug;
mod debug_dump;
mod guest_memory;
mod intrinsic;
mod machine;
mod mem;
mod protect;
mod registers;
mod user_memory;
mod view;
mod vm;
mod vm_memory;
mod vp;
mod vs;

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{Call, Error, Failure, SIGNATURE, Status};
use plinth_hal::{Arch, UserContext};

use crate::extension::end::End;
use crate::object::table::Id;
use crate::pp::run::{has_handle, is_running_on};
use crate::pp::{Next, Pp};

/// The group whose calls need no handle, and so belong to no version.
const DEBUG_GROUP: u16 = 2;

/// What a returning call leaves in REG0 and REG1.
type Outputs = [u64; 2];

/// The result of a call that returns.
type Answer = Result<Outputs, Failure>;

/// The result of a call that resumes something, or fails and returns.
type Resumption = Result<Next, Failure>;

/// A call with nothing to say.
const DONE: Answer = Ok([0; 2]);

impl<A: Arch> Pp<'_, A> {
    /// Handles the system call that the extension has just made.
    #[inline]
    pub(crate) fn dispatch(&mut self) -> Next {
        if is_running_on(&self.user, self.extension) {
            let result = self.vs_advance_and_run_current();
            return self.resume(result);
        }
        match self.look_up(self.user.call_number()) {
            Ok(call) => self.serve(call),
            Err(error) => self.answer(Err(error.into())),
        }
    }

    fn look_up(&self, number: u64) -> Result<Call, Error> {
        let flags = number >> 32 & 0xffff;
        if number >> 48 != SIGNATURE || flags != 0 {
            return Err(Error::UnknownCall);
        }
        let call = Call::from_opcode(number as u32).ok_or(Error::UnknownCall)?;
        let version = self.extension.version.load(Ordering::Relaxed);
        let known = call.since() <= version || call.group() == DEBUG_GROUP;
        if !known {
            return Err(Error::UnknownCall);
        }
        if self.extension.may_call(call.group()) { Ok(call) } else { Err(Error::Denied) }
    }

    /// Maps every call of the ABI to its handler. The match is exhaustive: a call without a handler does not
    /// compile.
    fn serve(&mut self, call: Call) -> Next {
        match call {
            Call::ControlExit => self.fail(End::Exited, None),
            Call::ControlWait => self.control_wait(),
            Call::ControlAgain => {
                let result = self.control_again();
                self.resume(result)
            }
            Call::HandleOpen => self.answer_with(Self::handle_open),
            Call::HandleClose => self.with_handle(Self::handle_close),
            Call::DebugOut => self.answer_with(Self::debug_out),
            Call::DebugDumpVm => self.answer_with(Self::debug_dump_vm),
            Call::DebugDumpVp => self.answer_with(Self::debug_dump_vp),
            Call::DebugDumpVs => self.answer_with(Self::debug_dump_vs),
            Call::DebugDumpExits => self.answer_with(Self::debug_dump_exits),
            Call::DebugWrite => self.answer_with(Self::debug_write),
            Call::DebugDumpExtension => self.answer_with(Self::debug_dump_extension),
            Call::DebugDumpPool => self.answer_with(Self::debug_dump_pool),
            Call::DebugExitCount => self.answer_with(Self::debug_exit_count),
            Call::CallbackRegisterBootstrap => self.with_handle(Self::register_bootstrap),
            Call::CallbackRegisterVmexit => self.with_handle(Self::register_vmexit),
            Call::CallbackRegisterFail => self.with_handle(Self::register_fail),
            Call::VmCreate => self.with_handle(Self::vm_create),
            Call::VmDestroy => self.with_handle(Self::vm_destroy),
            Call::VmFlush => self.with_handle(Self::vm_flush),
            Call::VmMap => self.with_handle(Self::vm_map),
            Call::VmUnmap => self.with_handle(Self::vm_unmap),
            Call::VmProtect => self.with_handle(Self::vm_protect),
            Call::VmQuery => self.with_handle(Self::vm_query),
            Call::VmDeclareIds => self.with_handle(Self::vm_declare_ids),
            Call::VmInterceptRegisters => self.with_handle(Self::vm_intercept_registers),
            Call::VmInterceptPorts => self.with_handle(Self::vm_intercept_ports),
            Call::VmViewCreate => self.with_handle(Self::vm_view_create),
            Call::VmViewDestroy => self.with_handle(Self::vm_view_destroy),
            Call::VmViewProtect => self.with_handle(Self::vm_view_protect),
            Call::VmViewQuery => self.with_handle(Self::vm_view_query),
            Call::VmReadMemory => self.with_handle(Self::vm_read_memory),
            Call::VmWriteMemory => self.with_handle(Self::vm_write_memory),
            Call::VpCreate => self.with_handle(Self::vp_create),
            Call::VpDestroy => self.with_handle(Self::vp_destroy),
            Call::VsCreate => self.with_handle(Self::vs_create),
            Call::VsDestroy => self.with_handle(Self::vs_destroy),
            Call::VsInitAsRoot => self.with_handle(Self::vs_init_as_root),
            Call::VsRead => self.with_handle(Self::vs_read),
            Call::VsWrite => self.with_handle(Self::vs_write),
            Call::VsRun => self.resume_with(Self::vs_run),
            Call::VsRunCurrent => self.resume_with(Self::vs_run_current),
            Call::VsAdvanceAndRun => self.resume_with(Self::vs_advance_and_run),
            Call::VsAdvanceAndRunCurrent => self.resume_with(Self::vs_advance_and_run_current),
            Call::VsPromote => self.resume_with(Self::vs_promote),
            Call::VsMigrate => self.with_handle(Self::vs_migrate),
            Call::VsActivate => self.with_handle(Self::vs_activate),
            Call::VsAdvance => self.with_handle(Self::vs_advance),
            Call::VsFlush => self.with_handle(Self::vs_flush),
            Call::VsInject => self.with_handle(Self::vs_inject),
            Call::VsSetView => self.with_handle(Self::vs_set_view),
            Call::VsStep => self.with_handle(Self::vs_step),
            Call::VsReadMany => self.with_handle(Self::vs_read_many),
            Call::VsWriteMany => self.with_handle(Self::vs_write_many),
            Call::VsTranslate => self.with_handle(Self::vs_translate),
            Call::IntrinsicRead => self.with_handle(Self::intrinsic_read),
            Call::IntrinsicWrite => self.with_handle(Self::intrinsic_write),
            Call::IntrinsicReset => self.with_handle(Self::intrinsic_reset),
            Call::MemAllocatePage => self.with_handle(Self::mem_allocate_page),
            Call::MemFreePage => self.with_handle(Self::mem_free_page),
            Call::MemAllocateHuge => self.with_handle(Self::mem_allocate_huge),
            Call::MemFreeHuge => self.with_handle(Self::mem_free_huge),
            Call::MemQuery => self.with_handle(Self::mem_query),
            Call::TimerSet => self.with_handle(Self::timer_set),
            Call::TimeRead => self.with_handle(Self::time_read),
            Call::PpQuery => self.with_handle(Self::pp_query),
            Call::PpKick => self.with_handle(Self::pp_kick),
        }
    }

    /// A call whose first argument is the handle.
    fn with_handle(&mut self, call: impl FnOnce(&mut Self) -> Answer) -> Next {
        self.answer_with(|pp| {
            pp.check_handle()?;
            call(pp)
        })
    }

    fn answer_with(&mut self, call: impl FnOnce(&mut Self) -> Answer) -> Next {
        let answer = call(self);
        self.answer(answer)
    }

    fn resume_with(&mut self, call: impl FnOnce(&mut Self) -> Resumption) -> Next {
        let result = self.check_handle().and_then(|()| call(self));
        self.resume(result)
    }

    fn answer(&mut self, answer: Answer) -> Next {
        match answer {
            Ok(outputs) => {
                self.user.set_status(Status::SUCCESS.raw());
                for (register, output) in outputs.into_iter().enumerate() {
                    self.user.set_output(register, output);
                }
            }
            Err(failure) => self.user.set_status(Status::from(failure).raw()),
        }
        self.call_returns()
    }

    #[inline]
    fn resume(&mut self, result: Resumption) -> Next {
        match result {
            Ok(next) => next,
            Err(failure) => self.answer(Err(failure)),
        }
    }

    fn check_handle(&self) -> Result<(), Failure> {
        if self.has_handle() { Ok(()) } else { Err(Failure::argument(0, Error::InvalidHandle)) }
    }

    /// Whether REG0 is the handle that the extension opened.
    fn has_handle(&self) -> bool {
        has_handle(&self.user, self.extension)
    }

    /// An argument as an object id.
    fn id(&self, register: usize) -> Id {
        Id::from_raw(self.user.argument(register))
    }
}

/// Attaches the number of the argument to an error.
fn about(register: u8) -> impl Fn(Error) -> Failure {
    move |error| Failure::argument(register, error)
}
