//! The page of the root VM that receives the answer to a hypercall.

use plinth_extension_api::abi::{Error, Failure, ROOT_VM};
use plinth_hal::page_table::{InputAddress, Permissions, PoolTables, PtFormat};
use plinth_hal::{Arch, Gpa, PAGE_SIZE};

use super::PAGE;
use crate::memory::guest_memory::GuestView;
use crate::object::table::Id;
use crate::pp::{Pp, guest_view};

/// A page that the root VM may write to, filled from the start.
pub(super) struct AnswerPage<'k, A: Arch> {
    memory: GuestView<'k, A>,
    at: Gpa,
    used: u64,
}

impl<'k, A: Arch> Pp<'k, A> {
    /// The page at a guest-physical address that the root VM's kernel has named.
    ///
    /// # Errors
    /// See `docs/abi/data.md`.
    pub(super) fn answer_page(&self, at: u64) -> Result<AnswerPage<'k, A>, Failure> {
        if !at.is_multiple_of(PAGE_SIZE) {
            return Err(Failure::argument(PAGE, Error::InvalidArgument));
        }
        let at = Gpa::new(at);
        if !self.may_write(at)? {
            return Err(Failure::argument(PAGE, Error::Denied));
        }
        Ok(AnswerPage { memory: guest_view(self.kernel, self.machine, Id::from_raw(ROOT_VM)), at, used: 0 })
    }

    /// Whether the root VS that runs here could write to a page of its own memory there: its tables lead to that page itself, which
    /// is not so of the hypervisor's own, the extension has not taken the right away, and no device is there.
    fn may_write(&self, at: Gpa) -> Result<bool, Failure> {
        let memory = self.machine.memory;
        let view = self.active.as_ref().and_then(|active| active.vs.view);
        let mut frames = self.kernel.kernel_frames(memory);
        let input = <A::NestedFormat as PtFormat>::Input::from_raw(at.raw());
        let found = self.kernel.vms.with(Id::from_raw(ROOT_VM), |vm| {
            let tables = &PoolTables { memory, frames: &mut frames };
            match view {
                Some(view) => vm.views.with(view, |view| view.nested.query(tables, input)).ok()?,
                None => vm.nested.query(tables, input),
            }
        })?;
        let wanted = Permissions::READ | Permissions::WRITE;
        Ok(found.is_some_and(|mapping| {
            mapping.spa.raw() == at.raw()
                && mapping.attributes.permissions.contains(wanted)
                && !self.machine.is_own(mapping.spa)
                && mapping.spa.raw() < self.machine.memory_end
                && A::may_be_memory(memory, mapping.spa)
        }))
    }
}

impl<A: Arch> AnswerPage<'_, A> {
    /// Whether `bytes` more fit.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.used.saturating_add(bytes as u64) <= PAGE_SIZE
    }

    /// The number of bytes written.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The page is not memory of the root VM, which its page tables cannot tell. Nothing has been written.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if !self.has_room(bytes.len()) {
            return Err(Error::InvalidArgument.into());
        }
        let written = self.memory.copy_to(self.at.wrapping_add(self.used), bytes);
        written.map_err(|_| Failure::argument(PAGE, Error::Denied))?;
        self.used = self.used.saturating_add(bytes.len() as u64);
        Ok(())
    }
}
