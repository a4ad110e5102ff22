//! A PP on which the kernel has failed: the other PPs go on without it, and its last log lines contain all
//! that a bug report needs.

use core::fmt::{self, Display, Formatter};
use core::mem::offset_of;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

use plinth_extension_api::abi::ExitPage;
use plinth_hal::{Arch, Spa};

use crate::ipi::mailbox::PpState;
use crate::kernel::Kernel;
use crate::limits::MAX_PPS;

/// The state of a failed PP, for its last log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LostPp {
    pp: usize,
    /// The address of the kernel's image, to look up code addresses in the file.
    image: Spa,
    last: LastExit,
}

/// The last exit that the kernel described in the exit page. The extension may have overwritten these fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct LastExit {
    code: u64,
    at: u64,
    number: u64,
    detail: u64,
}

impl Display for LostPp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { pp, image, last: LastExit { code, at, number, detail } } = self;
        write!(
            f,
            "pp {pp} stops, the others go on; kernel at {:#x}, last exit described: code {code:#x} at {at:#x}, \
             number {number:#x}, detail {detail:#x}",
            image.raw()
        )
    }
}

impl<A: Arch> Kernel<A> {
    /// The number of the PP with this hardware id.
    pub fn pp_of(&self, hardware_id: u32) -> Option<usize> {
        self.mailboxes.iter().position(|mailbox| mailbox.is(hardware_id))
    }

    /// Marks the PP with this hardware id as failed, since the kernel has panicked on it and it is about to
    /// stop. Other PPs no longer wait for it or kick it. A lock that it held stays locked, and waits for that
    /// lock fail. Returns `None` for a processor that is no PP of this kernel.
    pub fn lose_pp(&self, hardware_id: u32) -> Option<LostPp> {
        let pp = self.pp_of(hardware_id)?;
        let mailbox = self.mailboxes.get(pp)?;
        mailbox.set_state(PpState::Failed);
        mailbox.leave_guest();
        mailbox.rest();
        let machine = self.machine.get()?;
        let page = self.prepared.get(pp)?.get()?.exit_page;
        let page = A::exit_page(machine.memory, page)?;
        let word = |offset| page.field_for_a_report(offset);
        let last = LastExit {
            code: word(offset_of!(ExitPage, code)),
            at: word(offset_of!(ExitPage, instruction_pointer)),
            number: word(offset_of!(ExitPage, number)),
            detail: word(offset_of!(ExitPage, detail)),
        };
        Some(LostPp { pp, image: machine.image, last })
    }
}

/// The number of calls of [`last_words`].
static SAID: AtomicUsize = AtomicUsize::new(0);

/// Logs the last lines of a failed PP. A panic while it logs would call it again, so the number of calls is
/// bounded by the number of processors.
pub fn last_words(panic: &PanicInfo<'_>, lost: Option<LostPp>) {
    if SAID.fetch_add(1, Ordering::Relaxed) >= MAX_PPS {
        return;
    }
    let message = panic.message();
    match panic.location() {
        Some(place) => log::error!("the kernel panicked in {}:{}: {message}", place.file(), place.line()),
        None => log::error!("the kernel panicked: {message}"),
    }
    match lost {
        Some(lost) => log::error!("{lost}; please report this"),
        None => log::error!("this processor stops, it was not launched; please report this"),
    }
}
