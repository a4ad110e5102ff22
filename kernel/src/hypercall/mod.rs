//! Hypercalls that the kernel answers itself: status, log and trace.
//!
//! They serve the kernel of the root VM, and work independently of the extension, which does not see them.
//! Each call either does what was asked, or returns a status that names the error and changes nothing.

mod log;
mod page;
mod status;
mod trace;

use plinth_extension_api::abi::{
    Error, Failure, HYPERCALL_LOG, HYPERCALL_PP_STATUS, HYPERCALL_STATUS, HYPERCALL_STOP, HYPERCALL_TRACE,
    HYPERCALL_TRACE_READ, HYPERCALLS_SERVED, Status,
};
use plinth_hal::{Arch, Event, Exit, Page};

use crate::ipi::mailbox::Mailbox;
use crate::launch::choices::MayStop;
use crate::pp::{Next, Pp};

/// The results of a hypercall besides its status.
type Results = [u64; 4];

/// The numbers of the arguments, as a [`Failure`] names them: the register that holds the number is 0.
const PAGE: u8 = 1;
const PP: u8 = 2;

/// Whether a hypercall may be one of the kernel's. The kernel passes any other to the extension at once.
#[inline(always)]
pub(crate) fn may_be_kernels<A: Arch>(page: Page<A>) -> bool {
    /// Bits that no number of the kernel's has: a test of one instruction.
    const NEVER: u64 = 0xFFFC_0000;
    const { assert!((HYPERCALL_STOP | HYPERCALLS_SERVED << 16) & NEVER == 0) };
    let [number] = page.registers_once().take([0]);
    number & NEVER == 0
}

impl<A: Arch> Pp<'_, A> {
    /// Handles a hypercall of the root VM that may be the kernel's.
    #[cold]
    #[inline(never)]
    pub(crate) fn root_hypercall(&mut self, exit: Exit) -> Option<Next> {
        let [first, second, third, fourth] = A::HYPERCALL_ARGUMENTS;
        let registers = self.page.registers_once().take([0, first, second, third, fourth]);
        let [number, arguments @ ..] = registers;
        let by_kernel = exit.detail == 0;
        if number >> 16 == HYPERCALLS_SERVED {
            if by_kernel {
                self.serve_hypercall(number, arguments);
            } else {
                self.inject(Event::Undefined);
            }
            return None;
        }
        let stops = by_kernel && number == HYPERCALL_STOP && self.machine.may_stop == MayStop::Always;
        Some(if stops { self.stop() } else { self.decide(exit) })
    }

    fn serve_hypercall(&mut self, number: u64, arguments: [u64; 4]) {
        let answer = match number {
            HYPERCALL_STATUS => self.tell_status(arguments[0]),
            HYPERCALL_PP_STATUS => self.tell_pp_status(arguments[0], arguments[1]),
            HYPERCALL_LOG => self.tell_log(arguments[0], arguments[1]),
            HYPERCALL_TRACE => self.set_trace(arguments[0]),
            HYPERCALL_TRACE_READ => self.tell_trace(arguments[0], arguments[1], arguments[2]),
            _ => Err(Error::UnknownCall.into()),
        };
        let writer = self.page.writer();
        match answer {
            Ok(results) => {
                writer.set_general(0, Status::SUCCESS.raw());
                for (register, result) in A::HYPERCALL_ARGUMENTS.into_iter().zip(results) {
                    writer.set_general(register, result);
                }
            }
            Err(failure) => writer.set_general(0, Status::from(failure).raw()),
        }
        self.skip_instruction();
    }

    /// The PP that an argument names.
    fn named_pp(&self, number: u64) -> Result<(usize, &Mailbox), Failure> {
        let bad = Failure::argument(PP, Error::InvalidArgument);
        let index = usize::try_from(number).map_err(|_| bad)?;
        let mailbox = self.kernel.mailboxes.get(index).ok_or(bad)?;
        if index < self.kernel.pp_numbers() { Ok((index, mailbox)) } else { Err(bad) }
    }
}
