//! Edits of nested tables while processors translate by them.
//!
//! Where the format asks for break-before-make, an entry that changes is empty until no TLB holds what it was. Hardware
//! that asks for it (Arm) can tell all TLBs at once, so that is done with the VM locked; a PP whose guest meets the empty
//! entry waits for that lock and tries again. On other hardware nothing is done here: whoever edits tells the other PPs
//! afterwards, without the lock.

use plinth_hal::page_table::{InputAddress, PoolTables, PtFormat};
use plinth_hal::{Arch, Exit};

use crate::memory::nested::allows;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Whether nested paging refused an access because an entry was changing, and allows it by now. Said once: what is
    /// refused again right afterwards has another reason.
    pub(crate) fn was_changing(&mut self, exit: Exit) -> bool {
        if !A::NestedFormat::BREAK_BEFORE_MAKE || self.tried_again.take() == Some(exit.number) {
            return false;
        }
        let allowed = self.is_allowed(exit);
        self.tried_again = allowed.then_some(exit.number);
        allowed
    }

    /// Whether the tables that the active VS uses allow an access.
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
