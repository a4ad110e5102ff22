//! The trace: on and off, and what it has.

use plinth_extension_api::abi::{Error, ExitClass, Failure};
use plinth_hal::Arch;

use super::Results;
use crate::ipi::mailbox::{PpState, TRACE};
use crate::pp::Pp;
use crate::report::trace::{self, Words};

/// The argument with the classes.
const CLASSES: u8 = 1;
/// The argument with the cursor.
const CURSOR: u8 = 3;
/// How often the answer begins again where records are overwritten meanwhile.
const ATTEMPTS: usize = 4;

/// The bits of all classes.
fn all_classes() -> u64 {
    ExitClass::ALL.iter().fold(0, |all, class| all | 1 << *class as u64)
}

impl<A: Arch> Pp<'_, A> {
    /// [`HYPERCALL_TRACE`](plinth_extension_api::abi::HYPERCALL_TRACE).
    pub(super) fn set_trace(&mut self, classes: u64) -> Result<Results, Failure> {
        if classes & !all_classes() != 0 {
            return Err(Failure::argument(CLASSES, Error::InvalidArgument));
        }
        let kernel = self.kernel;
        if classes != 0 {
            kernel.open_traces(self.machine)?;
        }
        let before = kernel.traces.set_classes(classes);
        // Each PP looks once it exits. One that was not traced before misses that exit.
        let launched = kernel.mailboxes.iter().filter(|mailbox| mailbox.state() == PpState::Online);
        launched.for_each(|mailbox| _ = mailbox.post(TRACE));
        Ok([before, if kernel.traces.are_open() { trace::CAPACITY } else { 0 }, 0, 0])
    }

    /// [`HYPERCALL_TRACE_READ`](plinth_extension_api::abi::HYPERCALL_TRACE_READ).
    pub(super) fn tell_trace(&mut self, page: u64, pp: u64, cursor: u64) -> Result<Results, Failure> {
        let (index, _) = self.named_pp(pp)?;
        if cursor > self.kernel.traces.range(index).1 {
            return Err(Failure::argument(CURSOR, Error::InvalidArgument));
        }
        for _ in 0..ATTEMPTS {
            if let Some(results) = self.trace_from(page, index, cursor)? {
                return Ok(results);
            }
        }
        Err(Error::Busy.into())
    }

    /// Fills the page from the record `cursor` on, or the oldest; `None` where records are overwritten meanwhile.
    fn trace_from(&self, page: u64, index: usize, cursor: u64) -> Result<Option<Results>, Failure> {
        let traces = &self.kernel.traces;
        let (oldest, newest) = traces.range(index);
        let first = cursor.max(oldest);
        let mut page = self.answer_page(page)?;
        let mut next = first;
        while next < newest && page.has_room(size_of::<Words>()) {
            let Some(record) = traces.read(self.machine.memory, index, next) else { return Ok(None) };
            page.append(zerocopy::IntoBytes::as_bytes(&record))?;
            next = next.saturating_add(1);
        }
        Ok(Some([next.saturating_sub(first), first, next, traces.range(index).1]))
    }
}
