//! Memory of the extension's own.

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::page_table::Permissions;
use plinth_hal::{Arch, PAGE_SIZE, PhysicalMemory, UserContext};

use super::{Answer, DONE};
use crate::detached::Detached;
use crate::frames::FrameOwner;
use crate::platform::PrepareError;
use crate::pp::Pp;

impl<A: Arch> Pp<'_, A> {
    /// Gives the extension a zeroed page.
    pub(super) fn mem_allocate_page(&mut self) -> Answer {
        let memory = self.machine.memory;
        self.kernel.settle();
        let frame =
            self.kernel.frames.lock().take(1, FrameOwner::Extension).map_err(|_| Error::OutOfMemory)?;
        memory.zero_page(frame);
        let at = self.kernel.extension.page_address(self.machine.pool, frame).raw();
        let mut frames = self.kernel.kernel_frames(memory);
        let mut detached = Detached::new(&mut frames);
        let data = Permissions::READ | Permissions::WRITE;
        let mapped = match self.kernel.space.lock().as_mut() {
            Some(space) => space.map_user(memory, &mut detached, at, frame, 1, data),
            None => Err(PrepareError::BadContract),
        };
        if mapped.is_err() {
            self.kernel.retire(detached.take().chain([frame]));
            return Err(Error::OutOfMemory.into());
        }
        Ok([at, 0])
    }

    /// Takes a page back, if it is such a one and no VM maps it.
    pub(super) fn mem_free_page(&mut self) -> Answer {
        let at = self.user.argument(1);
        let bad = |error| Failure::argument(1, error);
        if !at.is_multiple_of(PAGE_SIZE) {
            return Err(bad(Error::InvalidArgument));
        }
        let (frame, _) = self.user_frame(at).ok_or(bad(Error::NotMapped))?;
        let memory = self.machine.memory;
        self.kernel.frames.lock().claim(frame).map_err(bad)?;
        let mut frames = self.kernel.kernel_frames(memory);
        let mut detached = Detached::new(&mut frames);
        if let Some(space) = self.kernel.space.lock().as_mut() {
            space.unmap_user(memory, &mut detached, at);
        }
        self.kernel.retire(detached.take().chain([frame]));
        DONE
    }
}
