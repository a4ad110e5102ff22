//! Nested page faults that hit an edit in progress.
//!
//! If the format requires break-before-make, an entry that changes is empty until every TLB has dropped the
//! old value. Hardware with that requirement (Arm) can broadcast the invalidation, so the kernel edits with
//! the VM locked. A guest that hits the empty entry exits; its PP waits for the lock, and the guest retries.
//! On other hardware nothing happens here: the editor notifies the other PPs afterwards, without the lock.

use plinth_hal::page_table::{InputAddress, PoolTables, PtFormat};
use plinth_hal::{Arch, Exit};

use crate::memory::nested::allows;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Returns true if the fault hit a break-before-make window and the access is allowed now, so that the
    /// guest can retry. True at most once in a row for an address, so that a real fault is not retried for
    /// ever.
    pub(crate) fn was_changing(&mut self, exit: Exit) -> bool {
        if !A::NestedFormat::BREAK_BEFORE_MAKE || self.tried_again.take() == Some(exit.number) {
            return false;
        }
        let allowed = self.is_allowed(exit);
        self.tried_again = allowed.then_some(exit.number);
        allowed
    }

    /// Whether the tables of the active VS allow the access.
    fn is_allowed(&self, exit: Exit) -> bool {
        let Some(active) = &self.active else { return false };
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let tables = &PoolTables { memory, frames: &mut frames };
        let at = <A::NestedFormat as PtFormat>::Input::from_raw(exit.number);
        let found = self.kernel.vms.with(active.vs.vm, |vm| match active.vs.view {
            None => vm.nested.query(tables, at),
            Some(view) => vm.views.with(view, |view| view.nested.query(tables, at)).ok().flatten(),
        });
        let found = found.ok().flatten();
        found.is_some_and(|mapping| allows(mapping.attributes.permissions, exit.detail))
    }
}
